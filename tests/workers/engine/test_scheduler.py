from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.workers.engine.house import House
from workers.engine.sequence import Priority, Sequence
from workers.engine.shelf import Shelf

REQUEST = st.fixed_dictionaries(
    {
        "tokens": st.lists(st.integers(0, 2), min_size=1, max_size=40),
        "answer": st.integers(1, 20),
        "priority": st.sampled_from(Priority),
        "owner": st.sampled_from("abc"),
    }
)


@settings(max_examples=60, deadline=None)
@given(requests=st.lists(REQUEST, max_size=25), shared=st.booleans(), shelf=st.sampled_from([0, 30, 200]))
def test_every_request_ends_complete(requests: list[dict], shared: bool, shelf: int) -> None:
    house = House(shared=shared, shelf=Shelf(shelf, least=3))
    asked = [house.ask(**request) for request in requests]
    house.run()
    assert set(house.ended) == set(asked)
    assert all(len(sequence.tokens) == sequence.limit for sequence in asked)
    assert not any(slot.busy for slot in house.prefixes.slots)


def test_at_most_so_many_run_and_the_next_takes_a_freed_slot() -> None:
    house = House(slots=2)
    first = [house.ask() for _ in range(2)]
    late = house.ask()
    house.step()
    assert late.slot is None
    first[0].cancelled = True
    plan = house.step()
    assert [end.sequence for end in plan.ended] == [first[0]]
    assert late in {step.sequence for step in plan.steps}


def test_a_deadline_ends_it_whether_it_runs_or_waits() -> None:
    house = House(slots=1)
    runs = house.ask(answer=50, deadline_s=0.05)
    waits = house.ask(deadline_s=0.03)
    for _ in range(7):
        house.step()
    assert house.ended == [waits, runs]


def test_a_better_class_goes_first_and_takes_a_slot() -> None:
    house = House(slots=2)
    batch = [house.ask(answer=40, priority=Priority.BATCH) for _ in range(3)]
    house.step()
    chat = house.ask(priority=Priority.CHAT)
    voice = house.ask(priority=Priority.VOICE)
    plan = house.step()
    assert {step.sequence for step in plan.steps} == {chat, voice}
    house.run()
    assert house.ended[0] in (chat, voice)
    assert all(len(sequence.tokens) == sequence.limit for sequence in batch)


def test_nobody_takes_a_slot_from_his_own_class_for_nothing() -> None:
    house = House(slots=1)
    first, second = house.ask(owner="a"), house.ask(owner="b")
    house.run()
    assert house.ended == [first, second]


def test_a_long_prompt_is_read_in_bounded_chunks_beside_streams() -> None:
    house = House(slots=2, room=2000, batch=256, prefill_chunk=32)
    stream = house.ask(prompt=1, answer=500)
    house.step()
    house.ask(prompt=1000)
    for _ in range(40):
        plan = house.step()
        counts = {step.sequence: step.count for step in plan.steps}
        assert counts[stream] == 1
        assert sum(counts.values()) <= 33


def test_the_chunk_follows_the_measured_speed() -> None:
    house = House(slots=2, room=4000, batch=512, prefill_chunk=512, pause_s=0.25)
    house.ask(prompt=1, answer=1000)
    house.step()
    house.ask(prompt=2000)
    house.scheduler.took(house.step().steps, 0.0)
    sizes = []
    for speed in (100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0):  # tokens per second
        plan = house.scheduler.schedule(house.now)
        read = sum(step.count for step in plan.steps if step.count > 1)
        for step in plan.steps:
            house.cache[step.slot] += step.tokens
        house.scheduler.computed(plan.steps)
        house.scheduler.took(plan.steps, read / speed)
        sizes.append(read)
        for step in plan.steps:
            if step.draws:
                step.sequence.tokens.append(0)
    assert sizes[-1] <= 0.25 * 100 * 1.5


@pytest.mark.parametrize("shared", [False, True])
def test_the_lowest_class_gets_on_under_an_endless_load_of_better_ones(shared: bool) -> None:
    house = House(slots=2, shared=shared, age_s=0.5, quantum=4)
    batch = house.ask(answer=20, priority=Priority.BATCH)
    for turn in range(4000):
        if turn % 4 == 0:
            house.ask(owner=f"o{turn % 3}", priority=Priority.CHAT if turn % 8 else Priority.VOICE)
        house.step()
        if batch in house.ended:
            return
    raise AssertionError("starved")


def test_nobody_starves_behind_newcomers_of_his_own_class() -> None:
    house = House(slots=1)
    heavy = [house.ask(answer=30, owner="heavy") for _ in range(3)]
    for turn in range(3000):
        if turn % 8 == 0:
            house.ask(owner=f"newcomer {turn}")
        house.step()
        if set(heavy) <= set(house.ended):
            return
    raise AssertionError("starved")


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=2, max_size=3),
    slots=st.integers(1, 4),
)
def test_owners_who_always_want_get_equal_shares(sizes: list[tuple[int, int]], slots: int) -> None:
    """At every moment two owners differ by no more than what their sequences in flight may still be given."""
    house = House(slots=slots)
    house.prefixes._reuse = False
    owners = [f"o{place}" for place in range(len(sizes))]
    for _ in range(600):
        for owner, (prompt, answer) in zip(owners, sizes, strict=True):
            while sum(other.owner == owner for other in house.scheduler.waiting) <= slots:  # never absent
                house.ask(prompt, answer, owner=owner)
        house.step()
        given_ = [house.served.get(owner, 0) for owner in owners]
        largest = max(prompt + answer for prompt, answer in sizes)
        assert max(given_) - min(given_) <= 2 * slots * largest


def test_a_flood_does_not_delay_who_asks_once() -> None:
    house = House(slots=2)
    for _ in range(50):
        house.ask(owner="flood", answer=20)
    for _ in range(5):
        house.step()
    once = house.ask(owner="once")
    for _ in range(10):
        house.step()
    assert once in house.ended


def test_bad_sizes_are_refused() -> None:
    house = House(room=32)
    for prompt, answer in ((0, 5), (5, 0), (30, 3)):
        with pytest.raises(ValueError, match="room"):
            house.scheduler.submit(Sequence([1] * prompt, prompt + answer))
    with pytest.raises(ValueError, match="batch"):
        House(slots=16)


def test_nobody_gives_way_where_it_would_not_make_room() -> None:
    house = House(slots=3, room=60, shared=True, idle=3)
    house.prefixes._reuse = False
    running = [house.ask(answer=14, owner="a"), house.ask(answer=14, owner="a")]
    house.step()
    big = house.ask(prompt=20, answer=30, owner="b")
    house.step()
    assert big.slot is None
    assert all(sequence.slot is not None for sequence in running)
    house.run()
    assert house.ended[-1] is big


@pytest.mark.parametrize("shared", [False, True])
def test_nothing_is_kept_of_what_was_forgotten(shared: bool) -> None:
    house = House(slots=2, shared=shared, shelf=Shelf(200, least=3))
    for place in range(6):
        house.ask(tokens=[place] * 10, owner=str(place))
    for _ in range(12):
        house.step()
    preempted = next(sequence for sequence in house.scheduler.running)
    house.forget()
    for _ in range(2):
        house.ask(tokens=[9] * 10, priority=Priority.VOICE)
    house.step()
    assert preempted in house.scheduler.waiting
    house.run()
    assert len(preempted.tokens) == preempted.limit
    held = [slot.tokens for slot in house.prefixes.slots] + list(house.prefixes.shelf.kept.values())
    assert {tokens[0] for tokens in held if tokens} == {9}


class Life(RuleBasedStateMachine):
    """Requests come, are cancelled, run out of time and are forgotten in any order; `House.check` looks after every
    step."""

    @initialize(shared=st.booleans(), slots=st.integers(1, 4), shelf=st.sampled_from([0, 30, 200]))
    def open(self, shared: bool, slots: int, shelf: int) -> None:
        self.house = House(slots=slots, shared=shared, shelf=Shelf(shelf, least=3), age_s=0.2, quantum=3)
        self.asked: list[Sequence] = []

    @rule(request=REQUEST, deadline=st.none() | st.floats(0, 0.3))
    def ask(self, request: dict, deadline: float | None) -> None:
        self.asked.append(self.house.ask(**request, deadline_s=deadline))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        live = [one for one in self.asked if one not in self.house.ended]
        if not live:
            return
        sequence = data.draw(st.sampled_from(live))
        sequence.cancelled = True
        self.house.step()
        assert sequence in self.house.ended
        assert sequence.slot is None

    @rule()
    def forget(self) -> None:
        self.house.forget()
        assert not any(slot.tokens for slot in self.house.prefixes.slots if not slot.busy)

    @rule(count=st.integers(1, 12))
    def work(self, count: int) -> None:
        for _ in range(count):
            plan = self.house.step()
            scheduler = self.house.scheduler
            assert plan.steps or not (scheduler.running or scheduler.waiting)

    @invariant()
    def a_slot_has_one_sequence(self) -> None:
        if hasattr(self, "house"):
            slots = [one.slot for one in self.house.scheduler.running]
            assert len(slots) == len(set(slots))

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.run()
            assert set(self.house.ended) == set(self.asked)
            assert len(self.house.ended) == len(self.asked)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
