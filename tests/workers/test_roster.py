"""Who stays, who goes and who waits, decided without threads or weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from config.errors import ModelUnavailable
from workers.roster import Resident, Roster, Size, Ticket

MB = 2**20


def size(megabytes: int, least: int | None = None) -> Size:
    """Of which the cache is half; `least` for a cache of one conversation."""
    half = megabytes * MB // 2
    return Size(half, half, half if least is None else least * MB - half)


def resident(roster: Roster[str], name: str, megabytes: int) -> None:
    half = megabytes * MB // 2
    roster.bring_in(Resident(name, f"model {name}", half, half))


def names(found: list[Resident[str]] | None) -> list[str] | None:
    return None if found is None else [one.name for one in found]


def test_a_resident_model_is_had_at_once_and_by_many() -> None:
    roster: Roster[str] = Roster()
    resident(roster, "a", 10)
    first, second = roster.ask("a"), roster.ask("a")
    assert first.resident is second.resident is roster.residents["a"]
    assert roster.residents["a"].users == 2
    assert roster.first is None


def test_where_there_is_room_nobody_goes() -> None:
    roster: Roster[str] = Roster()
    resident(roster, "a", 10)
    roster.ask("b")
    assert roster.make_room("b", size(10), 10 * MB) == []
    assert list(roster.residents) == ["a"]


def test_the_one_used_longest_ago_goes_first() -> None:
    roster: Roster[str] = Roster()
    for name in "abc":
        resident(roster, name, 10)
    roster.give_up(roster.ask("a"))
    roster.ask("d")
    assert names(roster.make_room("d", size(10), 0)) == ["b"]


def test_no_more_go_than_must() -> None:
    roster: Roster[str] = Roster()
    resident(roster, "small", 10)
    resident(roster, "large", 30)
    roster.ask("d")
    assert names(roster.make_room("d", size(25), 0)) == ["large"]


def test_an_idle_one_goes_before_one_in_use_that_is_older() -> None:
    roster: Roster[str] = Roster()
    resident(roster, "busy", 10)
    roster.ask("busy")
    resident(roster, "idle", 10)
    roster.ask("d")
    assert names(roster.make_room("d", size(10), 0)) == ["idle"]


def test_one_in_use_keeps_its_users_and_gets_no_more() -> None:
    roster: Roster[str] = Roster()
    resident(roster, "a", 10)
    running = roster.ask("a")
    newcomer = roster.ask("b")
    assert roster.make_room("b", size(10), 0) is None
    late = roster.ask("a")
    assert late.waits
    assert roster.first == "b"
    roster.give_up(running)
    assert names(roster.make_room("b", size(10), 0)) == ["a"]
    resident(roster, "b", 10)
    assert newcomer.resident is roster.residents["b"]
    assert roster.first == "a"


def test_one_told_to_leave_is_not_spared_for_another_that_was_used_later() -> None:
    """Two in use that took turns at leaving would get new users meanwhile, and never be empty."""
    roster: Roster[str] = Roster()
    for name in "ab":
        resident(roster, name, 10)
    first, second = roster.ask("a"), roster.ask("a")
    roster.ask("b")
    roster.ask("c")
    assert roster.make_room("c", size(10), 0) is None
    assert roster.residents["a"].leaving
    roster.give_up(first)  # which makes it the one used last
    assert roster.make_room("c", size(10), 0) is None
    assert [one.name for one in roster.residents.values() if one.leaving] == ["a"]
    roster.give_up(second)
    assert names(roster.make_room("c", size(10), 0)) == ["a"]


def test_one_that_need_not_leave_after_all_takes_in_who_waited() -> None:
    roster: Roster[str] = Roster()
    resident(roster, "a", 10)
    roster.ask("a")
    newcomer = roster.ask("b")
    assert roster.make_room("b", size(10), 0) is None
    late = roster.ask("a")
    roster.give_up(newcomer)
    roster.stay()
    assert late.resident is roster.residents["a"]


def test_a_cache_is_cut_before_a_model_is_refused_but_not_before_others_went() -> None:
    roster: Roster[str] = Roster()
    resident(roster, "a", 10)
    roster.ask("b")
    assert names(roster.make_room("b", size(100, least=60), 50 * MB)) == ["a"]


def test_a_model_larger_than_everything_is_refused_and_sends_nobody_away() -> None:
    roster: Roster[str] = Roster()
    resident(roster, "a", 10)
    roster.ask("b")
    with pytest.raises(ModelUnavailable, match="needs about 61 MB of memory, and language models may take 60 MB"):
        roster.make_room("b", size(100, least=61), 50 * MB)
    assert roster.residents["a"].is_open


def test_an_outdated_one_goes_for_its_successor() -> None:
    roster: Roster[str] = Roster()
    resident(roster, "a", 10)
    roster.residents["a"].outdated = True
    assert roster.ask("a").waits
    assert names(roster.make_room("a", size(10), 0)) == ["a"]


def test_a_failure_is_told_to_all_who_wait_for_that_model() -> None:
    roster: Roster[str] = Roster()
    tickets = [roster.ask(name) for name in ("a", "b", "a")]
    error = ModelUnavailable("broken")
    roster.fail("a", error)
    assert [ticket.error for ticket in tickets] == [error, None, error]
    assert roster.first == "b"


@given(
    held=st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=8),
    wanted=st.integers(1, 200),
    free=st.integers(-20, 100),
)
def test_what_goes_makes_room_and_none_of_it_is_needless(held: list[tuple[int, bool]], wanted: int, free: int) -> None:
    roster: Roster[str] = Roster()
    for place, (half, used) in enumerate(held):
        resident(roster, f"m{place}", 2 * half)
        if used:
            roster.ask(f"m{place}")
    total = free + sum(2 * half for half, _ in held)
    try:
        roster.make_room("new", size(2 * wanted), free * MB)
    except ModelUnavailable:
        assert 2 * wanted > total
        return
    gone = [2 * half for place, (half, _) in enumerate(held) if f"m{place}" not in roster.residents]
    leaving = [one.held // MB for one in roster.residents.values() if one.leaving]
    going = gone or leaving
    assert not (gone and leaving)
    assert free + sum(going) >= 2 * wanted
    assert all(free + sum(going) - one < 2 * wanted for one in going)


class Life(RuleBasedStateMachine):
    """Askers, who leave when they like, and a loader that does one thing at a time."""

    BUDGET = 100
    SIZES = {"a": 60, "b": 60, "c": 30, "d": 40, "e": 100}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.roster: Roster[str] = Roster()
        self.asked: list[Ticket[str]] = []

    def held(self) -> int:
        return sum(one.held // MB for one in self.roster.residents.values())

    def load_first(self) -> bool:
        name = self.roster.first
        assert name is not None
        if self.roster.make_room(name, size(self.SIZES[name]), (self.BUDGET - self.held()) * MB) is None:
            return False
        resident(self.roster, name, self.SIZES[name])
        return True

    @rule(name=st.sampled_from(sorted(SIZES)))
    def ask(self, name: str) -> None:
        self.asked.append(self.roster.ask(name))

    @precondition(lambda self: self.asked)
    @rule(place=st.integers(0, 1000))
    def leave(self, place: int) -> None:
        self.roster.give_up(self.asked.pop(place % len(self.asked)))

    @precondition(lambda self: self.roster.first)
    @rule()
    def load(self) -> None:
        first = self.roster.first
        served = self.load_first()
        assert served == (first != self.roster.first)

    @invariant()
    def within_budget(self) -> None:
        assert self.held() <= self.BUDGET

    @invariant()
    def nobody_waits_for_what_is_open(self) -> None:
        for ticket in self.roster.queue:
            found = self.roster.residents.get(ticket.name)
            assert found is None or not found.is_open

    @invariant()
    def users_are_counted(self) -> None:
        for name, one in self.roster.residents.items():
            assert one.users == sum(ticket.resident is one for ticket in self.asked), name

    def teardown(self) -> None:
        """Whatever happened, all who still wait are served once those who have a model are done."""
        for _ in range(10 * len(self.asked) + 10):
            if self.roster.first is None:
                break
            if not self.load_first():
                for ticket in [one for one in self.asked if not one.waits]:
                    self.asked.remove(ticket)
                    self.roster.give_up(ticket)
        assert self.roster.first is None


TestLife = Life.TestCase
