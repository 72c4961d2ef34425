from __future__ import annotations

import pytest

from tests.workers.engine.house import House
from workers.engine.sequence import Priority, Sequence
from workers.engine.stats import Gauges


def ended(gauges: Gauges, seconds: float, priority: Priority = Priority.CHAT) -> None:
    gauges.left(Sequence([1], 2, priority, admitted=0.0), seconds)


def places(gauges: Gauges, house: House) -> dict[str, tuple[int, float | None]]:
    gauges.look(house.scheduler, house.now)
    return gauges.waiting_jobs()


def crowd(house: House, count: int, priority: Priority = Priority.CHAT) -> list[Sequence]:
    asked = [house.ask(priority=priority, owner=f"o{number}") for number in range(count)]
    for number, sequence in enumerate(asked):
        sequence.job_id = f"{priority.name.lower()} {number}"
    return asked


def test_before_the_first_answer_there_is_a_place_and_no_time() -> None:
    house, gauges = House(slots=1), Gauges(1)
    crowd(house, 3)
    house.step()
    assert places(gauges, house) == {"chat 1": (1, None), "chat 2": (2, None)}


def test_each_takes_the_slot_that_is_free_first() -> None:
    house, gauges = House(slots=2), Gauges(2)
    ended(gauges, 10.0)
    crowd(house, 6)
    house.step()
    house.now = 4.0
    told = places(gauges, house)
    assert [place for place, _ in told.values()] == [1, 2, 3, 4]
    assert [seconds for _, seconds in told.values()] == pytest.approx([6.0, 6.0, 16.0, 16.0])
    assert gauges.stats.answer_s == 10.0


def test_an_overdue_answer_goes_on_a_while() -> None:
    house, gauges = House(slots=1), Gauges(1)
    ended(gauges, 10.0)
    crowd(house, 2)
    house.step()
    house.now = 60.0
    assert places(gauges, house)["chat 1"] == (1, pytest.approx(2.0))


def test_classes_take_their_own_time() -> None:
    house, gauges = House(slots=1, age_s=1e9), Gauges(1)
    ended(gauges, 10.0)
    ended(gauges, 100.0, Priority.SUMMARIZE)
    crowd(house, 2)
    house.step()
    crowd(house, 2, Priority.SUMMARIZE)
    told = places(gauges, house)
    assert [told[name] for name in ("chat 1", "summarize 0", "summarize 1")] == [
        (1, pytest.approx(10.0, abs=0.1)),
        (2, pytest.approx(20.0, abs=0.1)),
        (3, pytest.approx(120.0, abs=0.1)),
    ]


def test_who_was_let_in_waits_no_longer() -> None:
    house, gauges = House(slots=1), Gauges(1)
    first, second = crowd(house, 2)
    house.step()
    assert places(gauges, house).keys() == {"chat 1"}
    first.cancelled = True
    house.step()
    assert gauges.waiting(second) is None
    assert gauges.waiting_jobs() == {}
