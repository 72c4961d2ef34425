"""Which tokens each slot's cache holds, and the best cache for a new prompt to begin with. Bookkeeping only: pure.

Two kinds of cache. Shared (one room for all): slots hold references to cells, a prompt takes over any slot's beginning
by copying references, and there are more slots than running sequences so that idle caches stay. Split (each slot has a
room of its own): a prompt can only go on in the slot whose cache it begins with, after trimming that slot's end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from workers.engine.sequence import Placement


@dataclass(slots=True, eq=False)
class Cell:
    references: int = 1


@dataclass(slots=True, eq=False)
class Slot:
    number: int
    tokens: list[int] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    busy: bool = False
    used_at: float = 0.0


class Prefixes:
    def __init__(self, slots: int, room: int, *, shared: bool, partial: bool = True, reuse: bool = True) -> None:
        """`room` in tokens: of all slots together when `shared`, else of each. `partial`: the end of a cache can be
        cut off, which recurrent models cannot do."""
        self.slots = [Slot(number) for number in range(slots)]
        self.room = room
        self.shared = shared
        self.used = 0  # distinct cells held
        self._partial = partial
        self._reuse = reuse

    # --- what is held

    def idle(self) -> list[Slot]:
        """Least recently used first, empty ones before all."""
        return sorted((slot for slot in self.slots if not slot.busy), key=lambda slot: (bool(slot.tokens), slot.used_at))

    def extend(self, number: int, tokens: Collection[int]) -> None:
        slot = self.slots[number]
        slot.tokens.extend(tokens)
        slot.cells.extend(Cell() for _ in tokens)
        self.used += len(tokens)

    def release(self, number: int, now: float) -> None:
        slot = self.slots[number]
        slot.busy, slot.used_at = False, now

    def trim(self, number: int, keep: int) -> None:
        slot = self.slots[number]
        for cell in slot.cells[keep:]:
            cell.references -= 1
            self.used -= not cell.references
        del slot.cells[keep:]
        del slot.tokens[keep:]

    def forget_idle(self) -> list[int]:
        """Empties every idle slot; returns those that held something."""
        held = [slot.number for slot in self.slots if not slot.busy and slot.tokens]
        for number in held:
            self.trim(number, 0)
        return held

    # --- a place for a prompt

    def place(self, tokens: Sequence[int], limit: int, reserved: int) -> Placement | None:
        """Takes a slot for a sequence that will hold up to `limit` cells, while others will need `reserved` more than
        they hold. None when there is no room even without idle caches. Nothing is decoded yet: the caller makes the
        real cache look like the book."""
        if self.shared:
            return self._place_shared(tokens, limit, reserved)
        idle = self.idle()
        if not idle or limit > self.room:
            return None
        target, keep = idle[0], 0
        best, common = self._longest(tokens, idle)
        # A long cache is not given up for the few tokens that all conversations begin with.
        if best is not None and (common * 2 >= len(best.tokens) or common * 2 >= len(tokens) or best is target):
            target, keep = best, common
        self._take(target, keep)
        return Placement(target.number, keep)

    def _place_shared(self, tokens: Sequence[int], limit: int, reserved: int) -> Placement | None:
        idle = self.idle()
        if not idle or limit + reserved + self._held_by_busy() > self.room + self._best_case(tokens):
            return None
        best, common = self._longest(tokens, self.slots)
        others = [slot for slot in idle if slot is not best]
        if best is None:
            target, source = others[0], None
        elif not best.busy and (common == len(best.tokens) or not others):
            target, source = best, None
        elif others:
            target, source = others[0], best
        else:
            target, source, common = idle[0], None, 0
        return self._make_room(target, source, common, limit, reserved)

    def _make_room(self, target: Slot, source: Slot | None, common: int, limit: int, reserved: int) -> Placement | None:
        """Forgets idle caches, oldest first, until the sequence fits; gives up sharing's source last."""
        evicted: list[int] = []
        if source is not None:
            self.trim(target.number, 0)
        elif target.tokens:
            self.trim(target.number, common)
        victims = [slot for slot in self.idle() if slot.tokens and slot not in (target, source)]
        while self.used + reserved + limit - common > self.room and victims:
            evicted.append(victims[0].number)
            self.trim(victims.pop(0).number, 0)
        if self.used + reserved + limit - common > self.room and source is not None and not source.busy:
            target, source = source, None
            self.trim(target.number, common)
        if self.used + reserved + limit - common > self.room:
            return None
        if source is not None:
            self._copy(source, target, common)
        target.busy = True
        return Placement(target.number, common, source.number if source else None, tuple(evicted))

    def _take(self, slot: Slot, keep: int) -> None:
        self.trim(slot.number, keep)
        slot.busy = True

    def _copy(self, source: Slot, target: Slot, keep: int) -> None:
        target.tokens = source.tokens[:keep]
        target.cells = source.cells[:keep]
        for cell in target.cells:
            cell.references += 1

    def _held_by_busy(self) -> int:
        if all(slot.busy or not slot.tokens for slot in self.slots):
            return self.used
        return len({id(cell) for slot in self.slots if slot.busy for cell in slot.cells})

    def _best_case(self, tokens: Sequence[int]) -> int:
        """Cells that a prompt could share with running sequences at best."""
        return max((common for _, common in self._overlaps(tokens, self.slots, busy_only=True)), default=0)

    def _longest(self, tokens: Sequence[int], slots: Collection[Slot]) -> tuple[Slot | None, int]:
        """At least the last token is left to decode: its logits are wanted."""
        found: tuple[Slot | None, int] = (None, 0)
        for slot, common in self._overlaps(tokens, slots):
            # Of equals the one used last: the other may be forgotten sooner.
            if common > found[1] or (common == found[1] and found[0] is not None and slot.used_at > found[0].used_at):
                found = slot, common
        return found

    def _overlaps(
        self, tokens: Sequence[int], slots: Collection[Slot], *, busy_only: bool = False
    ) -> Iterator[tuple[Slot, int]]:
        if not self._reuse:
            return
        for slot in slots:
            if slot.busy < busy_only:
                continue
            common = min(common_prefix(slot.tokens, tokens), len(tokens) - 1)
            if common > 0 and (self._partial or (common == len(slot.tokens) and not slot.busy)):
                yield slot, common


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common beginning. Compares slices, which C does, instead of items."""
    low, high = 0, min(len(left), len(right))
    if not high or left[0] != right[0]:
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
