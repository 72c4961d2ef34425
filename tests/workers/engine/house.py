"""The scheduler with a pretended model: every step takes time, every drawn token is 0."""

from __future__ import annotations

from workers.engine.prefixes import Prefixes
from workers.engine.scheduler import Limits, Scheduler
from workers.engine.sequence import Copy, Operation, Plan, Priority, Restore, Save, Sequence, Trim
from workers.engine.shelf import Shelf

STEP_S = 0.01


class House:
    """Keeps a cache of its own from the plans' operations, and compares it with the book at every step."""

    def __init__(
        self,
        slots: int = 4,
        room: int = 64,
        *,
        shared: bool = False,
        idle: int = 2,
        shelf: Shelf | None = None,
        **limits: float,
    ) -> None:
        self.now = 0.0
        self.slots = slots
        self.prefixes = Prefixes(slots + (idle if shared else 0), room, shared=shared, shelf=shelf)
        defaults = {"running": slots, "batch": 16, "prefill_chunk": 8, "min_chunk": 4}
        self.scheduler = Scheduler(Limits(**{**defaults, **limits}), self.prefixes)  # type: ignore[arg-type]
        self.cache: dict[int, list[int]] = {slot.number: [] for slot in self.prefixes.slots}
        self.aside: dict[int, list[int]] = {}
        self.ended: list[Sequence] = []
        self.served: dict[str, int] = {}

    def ask(
        self,
        prompt: int = 6,
        answer: int = 6,
        priority: Priority = Priority.CHAT,
        owner: str = "",
        deadline_s: float | None = None,
        tokens: list[int] | None = None,
    ) -> Sequence:
        tokens = tokens or [1] * prompt
        deadline = None if deadline_s is None else self.now + deadline_s
        sequence = Sequence(list(tokens), len(tokens) + answer, priority, owner, self.now, deadline)
        self.scheduler.submit(sequence)
        return sequence

    def step(self) -> Plan:
        plan = self.scheduler.schedule(self.now)
        self.ended += [end.sequence for end in plan.ended]
        for operation in plan.operations:
            self.carry_out(operation)
        for step in plan.steps:
            assert step.start == len(self.cache[step.slot])
            self.cache[step.slot] += step.tokens
            self.served[step.sequence.owner] = self.served.get(step.sequence.owner, 0) + step.count
        self.scheduler.computed(plan.steps)
        self.scheduler.took(plan.steps, STEP_S)
        self.now += STEP_S
        for step in plan.steps:
            if step.draws:
                step.sequence.tokens.append(0)
                if len(step.sequence.tokens) >= step.sequence.limit:
                    self.scheduler.finish(step.sequence, self.now)
                    self.ended.append(step.sequence)
        self.check(plan)
        return plan

    def carry_out(self, operation: Operation) -> None:
        match operation:
            case Trim(slot, keep):
                assert keep < len(self.cache[slot])
                del self.cache[slot][keep:]
            case Copy(source, slot, keep):
                assert not self.cache[slot]
                assert keep <= len(self.cache[source])
                self.cache[slot] = self.cache[source][:keep]
            case Save(slot, key, tokens, instead_of):
                assert self.cache[slot] == list(tokens)
                for other in instead_of:
                    del self.aside[other]
                self.aside[key] = list(tokens)
            case Restore(key, slot, keep):
                assert not self.cache[slot]
                assert keep <= len(self.aside[key])
                self.cache[slot] = self.aside[key][:keep]

    def forget(self) -> None:
        self.scheduler.forget()
        self.aside.clear()

    def check(self, plan: Plan) -> None:
        scheduler, prefixes = self.scheduler, self.prefixes
        assert sum(step.count for step in plan.steps) <= scheduler.limits.batch
        assert len({step.slot for step in plan.steps}) == len(plan.steps)
        assert len(scheduler.running) <= self.slots
        assert {sequence.slot for sequence in scheduler.running} == {
            slot.number for slot in prefixes.slots if slot.busy
        }
        for slot in prefixes.slots:
            assert len(slot.cells) == len(slot.tokens)
        assert set(self.aside) == set(prefixes.shelf.kept)
        assert sum(map(len, self.aside.values())) <= prefixes.shelf.room
        cells = {id(cell): cell for slot in prefixes.slots for cell in slot.cells}
        assert prefixes.used == len(cells)
        assert sum(cell.references for cell in cells.values()) == sum(len(slot.cells) for slot in prefixes.slots)
        for sequence in scheduler.running:
            assert sequence.slot is not None
            assert prefixes.slots[sequence.slot].tokens == sequence.tokens[: sequence.computed]
        if prefixes.shared:
            held = {id(cell) for slot in prefixes.slots if slot.busy for cell in slot.cells}
            assert len(held) + sum(one.cells_to_come for one in scheduler.running) <= prefixes.room
            assert prefixes.used <= prefixes.room
        else:
            assert all(len(slot.tokens) <= prefixes.room for slot in prefixes.slots)

    def run(self, steps: int = 100_000) -> int:
        """Until nothing is left; how many steps it took."""
        for count in range(steps):
            if not self.scheduler.running and not self.scheduler.waiting:
                return count
            self.step()
        raise AssertionError("it does not end")
