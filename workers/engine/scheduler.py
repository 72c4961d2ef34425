"""Which tokens are decoded next, and for whom. Pure: no model, no clock it was not given, no threads.

submit ─▶ waiting ─place─▶ running ─finish─▶ gone
             ▲────preempt─────┘

Classes: a waiting sequence of a better class goes first, and takes the slot of a worse one when none is free. Ageing: a
class counts as one class better for every `age_s` seconds in which it waited and none of it ran; what is let in by its
age keeps its slot for `quantum` tokens, so that it gets on. Inside a class the owner who was given least goes first,
and may take a slot of one who holds at least two more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from workers.engine.prefixes import Prefixes
from workers.engine.sequence import Ended, Plan, Priority, Sequence, Step
from workers.engine.shares import Shares

# Before the first prompt nothing is known about the speed; this many tokens tell it.
FIRST_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """`prefill_chunk`: tokens of prompts per step while others' streams wait for it, at most; fewer where reading them
    would take longer than `pause_s`. Beside streams of a better class the pause is a quarter of it."""

    running: int = 8
    batch: int = 512
    prefill_chunk: int = 512
    min_chunk: int = 16
    pause_s: float = 1.0  # with half of it prompts are read in pieces so small that a burst costs a tenth more
    step_s: float = 1.0  # longest step while nobody's stream waits: what a cancel or a newcomer may have to wait
    age_s: float = 30.0
    quantum: int = 32


class Scheduler:
    def __init__(self, limits: Limits, prefixes: Prefixes) -> None:
        if not 0 < limits.running < limits.batch:
            raise ValueError("A batch must hold a token of every running sequence, and one more.")
        self.limits = limits
        self.prefixes = prefixes
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._shares = {priority: Shares() for priority in Priority}
        self._ran_at = dict.fromkeys(Priority, float("-inf"))
        self._no_room: tuple[Sequence, int] | None = None  # asked in vain, and when: nothing was released since
        self._prefill_rate = 0.0  # tokens per second, 0 while unknown

    # --- what happens to a sequence

    def submit(self, sequence: Sequence) -> None:
        if not 0 < len(sequence.tokens) < sequence.limit <= self.prefixes.room:
            raise ValueError("A sequence needs tokens, room for an answer, and no more than the cache has.")
        self._shares[sequence.priority].enter(sequence.owner)
        self.waiting.append(sequence)

    def finish(self, sequence: Sequence, now: float) -> None:
        """Its slot is free for the next plan; what it cached stays for whoever begins the same way."""
        if sequence.slot is not None:
            self._vacate(sequence, now)
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self._shares[sequence.priority].leave(sequence.owner)

    def computed(self, steps: Iterable[Step]) -> None:
        """These steps were decoded. The caller appends the tokens drawn to their sequences."""
        for step in steps:
            sequence = step.sequence
            self.prefixes.extend(step.slot, step.tokens)
            sequence.computed += step.count
            self._shares[sequence.priority].serve(sequence.owner, step.count)

    def lost(self, slot: int) -> Sequence | None:
        """The real cache has nothing of this slot: whoever runs in it is read again."""
        self.prefixes.trim(slot, 0)
        for sequence in self.running:
            if sequence.slot == slot:
                sequence.computed = sequence.reused = 0
                return sequence
        return None

    def forget(self) -> None:
        """No cache of what came until now is kept: idle ones go at once, others with their sequence."""
        self.prefixes.forget()
        for sequence in [*self.running, *self.waiting]:
            sequence.forget = True

    def took(self, steps: Iterable[Step], seconds: float) -> None:
        """How long these steps took together: the size of the next chunk follows from it."""
        read = sum(step.count for step in steps if step.count > 1)
        if read >= self.limits.min_chunk and seconds > 0:
            rate = read / seconds
            self._prefill_rate += (rate - self._prefill_rate) * (0.3 if self._prefill_rate else 1.0)

    # --- the plan

    def schedule(self, now: float) -> Plan:
        plan = Plan(ended=self._end(now))
        self._admit(now)
        plan.operations = self.flush().operations
        plan.steps = self._steps()
        for step in plan.steps:
            self._ran_at[step.sequence.priority] = now
        return plan

    def flush(self) -> Plan:
        """What the real cache must do to look like the book, without anything to decode."""
        operations, self.prefixes.operations = self.prefixes.operations, []
        return Plan(operations=operations)

    def queue(self, now: float) -> list[Sequence]:
        """Who waits, in the order of being let in as far as it is known now."""
        pending = Counter[tuple[Priority, str]]()
        for sequence in self.running:
            pending[sequence.priority, sequence.owner] += sequence.cells_to_come
        classes = [(self._level(priority, now), self._fair_order(priority, pending)) for priority in Priority]
        return [sequence for _, members in sorted(classes, key=lambda item: item[0]) for sequence in members]

    def _end(self, now: float) -> list[Ended]:
        ended = []
        for sequence in [*self.running, *self.waiting]:
            if sequence.cancelled:
                ended.append(Ended(sequence, "cancelled"))
            elif sequence.deadline is not None and now >= sequence.deadline:
                ended.append(Ended(sequence, "deadline"))
        for end in ended:
            self.finish(end.sequence, now)
        return ended

    # --- letting in

    def _admit(self, now: float) -> None:
        moved: set[Sequence] = set()  # let in or preempted by this plan: once is enough
        while self.waiting:
            queue = self.queue(now)
            if self._place(queue[0], now) or self._preempt_for(queue[0], moved, now):
                moved.add(queue[0])
                continue
            # Only who takes a slot from a worse class may pass the head of the queue: free room is kept for it.
            for sequence in queue:
                if sequence.priority < queue[0].priority and self._preempt_for(sequence, moved, now):
                    moved.add(sequence)
                    break
            else:
                return

    def _place(self, sequence: Sequence, now: float) -> bool:
        if len(self.running) >= self.limits.running or self._no_room == (sequence, self.prefixes.releases):
            return False
        reserved = sum(other.cells_to_come for other in self.running)
        place = self.prefixes.place(sequence.tokens, sequence.limit, reserved)
        if place is None:
            self._no_room = (sequence, self.prefixes.releases)
            return False
        self.waiting.remove(sequence)
        self.running.append(sequence)
        spare = self.prefixes.room - (self.prefixes.used + reserved if self.prefixes.shared else 0)
        sequence.slot = place[0]
        sequence.computed = self.prefixes.fetch(place[0], sequence.tokens, spare if spare >= sequence.limit else 0)
        sequence.reused, sequence.admitted = sequence.computed, now
        if any(other.priority < sequence.priority for other in self.waiting):
            sequence.kept_until = len(sequence.tokens) + self.limits.quantum
        return True

    def _preempt_for(self, sequence: Sequence, moved: set[Sequence], now: float) -> bool:
        victims = self._victims(sequence, moved)
        for victim in victims:
            self._vacate(victim, now)
            self.running.remove(victim)
            self.waiting.append(victim)
            moved.add(victim)
        return bool(victims) and self._place(sequence, now)

    def _victims(self, sequence: Sequence, moved: set[Sequence]) -> list[Sequence]:
        """Who must give way: of the worst class, of whoever holds most slots, let in last. Nobody, where even that
        would not make room."""
        held = Counter((other.priority, other.owner) for other in self.running)
        movable = sorted(
            (one for one in self.running if one not in moved and len(one.tokens) >= one.kept_until),
            key=lambda one: (one.priority, held[one.priority, one.owner], one.admitted),
            reverse=True,
        )
        worse = [one for one in movable if one.priority > sequence.priority]
        for count in range(1, len(worse) + 1):
            if self._would_fit(sequence, worse[:count]):
                return worse[:count]
        fair = held[sequence.priority, sequence.owner] + 2
        for one in movable:
            if one.priority == sequence.priority and held[one.priority, one.owner] >= fair:
                return [one] if self._would_fit(sequence, [one]) else []
        return []

    def _would_fit(self, sequence: Sequence, without: list[Sequence]) -> bool:
        reserved = sum(other.cells_to_come for other in self.running if other not in without)
        slots = [other.slot for other in without if other.slot is not None]
        return self.prefixes.fits(sequence.tokens, sequence.limit, reserved, slots)

    def _vacate(self, sequence: Sequence, now: float) -> None:
        assert sequence.slot is not None
        self.prefixes.release(sequence.slot, now, forget=sequence.forget)
        sequence.slot, sequence.computed = None, 0

    def _level(self, priority: Priority, now: float) -> float:
        waited_since = min((other.arrived for other in self.waiting if other.priority == priority), default=now)
        return priority - max(now - max(waited_since, self._ran_at[priority]), 0.0) / self.limits.age_s

    def _fair_order(self, priority: Priority, pending: Counter[tuple[Priority, str]]) -> list[Sequence]:
        """Each owner's in order of arrival, owners in turn: what they were given, and what is before it, counts."""
        members = sorted((other for other in self.waiting if other.priority == priority), key=lambda one: one.arrived)
        shares, before = self._shares[priority], Counter[str]()
        keyed = []
        for place, sequence in enumerate(members):
            owner = sequence.owner
            keyed.append((shares.given(owner) + pending[priority, owner] + before[owner], place))
            before[owner] += sequence.limit
        return [members[place] for _, place in sorted(keyed)]

    # --- one step

    def _steps(self) -> list[Step]:
        streams = [sequence for sequence in self.running if sequence.todo == 1]
        reading = [sequence for sequence in self.running if sequence.todo > 1]
        steps = [self._step(sequence, 1) for sequence in streams]
        left = self.limits.batch - len(steps)
        if streams:
            left = min(left, self._chunk(self.limits.pause_s, self.limits.prefill_chunk))
        elif reading:
            left = min(left, self._chunk(self.limits.step_s, self.limits.batch))
        best = min((sequence.priority for sequence in streams), default=Priority.BATCH)
        behind = min(left, self._chunk(self.limits.pause_s / 4, self.limits.prefill_chunk))
        for sequence in sorted(reading, key=lambda one: (one.priority, one.admitted)):
            room = left if sequence.priority <= best else min(left, behind)
            if room <= 0:
                break
            step = self._step(sequence, min(sequence.todo, room))
            steps.append(step)
            left, behind = left - step.count, behind - step.count
        return steps

    def _chunk(self, seconds: float, most: int) -> int:
        tokens = int(self._prefill_rate * seconds) if self._prefill_rate else FIRST_CHUNK
        return max(min(tokens, most), min(self.limits.min_chunk, most))

    def _step(self, sequence: Sequence, count: int) -> Step:
        assert sequence.slot is not None
        start = sequence.computed
        return Step(sequence, sequence.slot, start, count, draws=start + count == len(sequence.tokens))
