from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from workers.embedding.turns import OneAtATime


@pytest.fixture
def turns() -> Iterator[OneAtATime]:
    turns = OneAtATime("test")
    yield turns
    turns.close()


def test_urgent_ones_go_first(turns: OneAtATime) -> None:
    entered, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def block() -> None:
        entered.set()
        go_on.wait(20)

    threads = [threading.Thread(target=turns.run, args=(block,))]
    threads[0].start()
    assert entered.wait(20)
    for place, name in enumerate(("bulk 1", "bulk 2", "urgent 1", "urgent 2"), start=1):
        call = {"function": lambda name=name: order.append(name), "urgent": name.startswith("urgent")}
        threads.append(threading.Thread(target=turns.run, kwargs=call))
        threads[-1].start()
        while turns.waiting < place:
            time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert order == ["urgent 1", "urgent 2", "bulk 1", "bulk 2"]


def test_errors_come_back_to_the_caller(turns: OneAtATime) -> None:
    with pytest.raises(ZeroDivisionError):
        turns.run(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        turns.run(exit)
    assert turns.run(lambda: 7) == 7


def test_one_thread_does_all(turns: OneAtATime) -> None:
    assert turns.run(threading.get_ident) == turns.run(threading.get_ident, urgent=True) != threading.get_ident()


def test_closed() -> None:
    turns = OneAtATime("test")
    turns.close()
    with pytest.raises(RuntimeError):
        turns.run(lambda: 1)


def test_it_is_quiet_after_an_urgent_one_but_not_for_ever() -> None:
    quiet = OneAtATime("test", quiet_s=0.1)
    first, began, bulk = quiet.run(time.monotonic), list[float](), threading.Event()
    asked = quiet.run(time.monotonic, urgent=True)

    def begin() -> None:
        began.append(quiet.run(time.monotonic))
        bulk.set()

    thread = threading.Thread(target=begin)
    thread.start()
    while not bulk.is_set():  # the test ends: it has its turn among urgent ones that never stop
        quiet.run(time.monotonic, urgent=True)
    thread.join(20)
    quiet.close()
    assert began[0] >= min(asked + 0.1, first + 0.3)


def test_without_urgent_ones_nothing_waits() -> None:
    quiet = OneAtATime("test", quiet_s=1000.0)
    assert [quiet.run(lambda number=number: number) for number in range(3)] == [0, 1, 2]  # type: ignore[misc]
    quiet.close()
