"""Which tokens each slot's cache holds, and the best cache for a new prompt to begin with. Bookkeeping only: pure.

Two kinds of cache. Shared (one room for all): slots hold references to cells, a prompt takes over any slot's beginning
by copying references, and there are more slots than running sequences so that idle caches stay. Split (each slot has a
room of its own): a prompt can only go on in the slot whose cache it begins with, after trimming that slot's end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from workers.engine.sequence import Copy, Operation, Restore, Save, Trim
from workers.engine.shelf import Shelf


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
    def __init__(
        self,
        slots: int,
        room: int,
        *,
        shared: bool,
        partial: bool = True,
        reuse: bool = True,
        shelf: Shelf | None = None,
    ) -> None:
        """`room` in tokens: of all slots together when `shared`, else of each. `partial`: the end of a cache can be
        cut off, which recurrent models cannot do. What a slot must give up goes to the `shelf`."""
        self.slots = [Slot(number) for number in range(slots)]
        self.room = room
        self.shared = shared
        self.used = 0  # distinct cells held
        self.releases = 0
        self.shelf = shelf or Shelf(0)
        self.operations: list[Operation] = []  # what the real cache must still do to look like the book
        self._partial = partial
        self._reuse = reuse

    # --- what is held

    def idle(self) -> list[Slot]:
        """Least recently used first, empty ones before all."""
        return sorted(
            (slot for slot in self.slots if not slot.busy), key=lambda slot: (bool(slot.tokens), slot.used_at)
        )

    def extend(self, number: int, tokens: Collection[int]) -> None:
        slot = self.slots[number]
        slot.tokens.extend(tokens)
        slot.cells.extend(Cell() for _ in tokens)
        self.used += len(tokens)

    def release(self, number: int, now: float, *, forget: bool = False) -> None:
        slot = self.slots[number]
        slot.busy, slot.used_at = False, now
        self.releases += 1
        if forget:
            self._cut(slot, 0)

    def trim(self, number: int, keep: int) -> None:
        slot = self.slots[number]
        if self.shelf.room and not slot.busy and keep * 2 < len(slot.tokens):
            self._put_aside(slot)
        self._cut(slot, keep)

    def _cut(self, slot: Slot, keep: int) -> None:
        if keep >= len(slot.tokens):
            return
        self.operations.append(Trim(slot.number, keep))
        for cell in slot.cells[keep:]:
            cell.references -= 1
            self.used -= not cell.references
        del slot.cells[keep:]
        del slot.tokens[keep:]

    def forget_idle(self) -> None:
        for slot in self.slots:
            if not slot.busy:
                self.trim(slot.number, 0)

    def forget(self) -> None:
        """Drops all that nobody uses now, and the shelf with it."""
        self.shelf.kept.clear()
        for slot in self.slots:
            if not slot.busy:
                self._cut(slot, 0)

    # --- a place for a prompt

    def place(self, tokens: list[int], limit: int, reserved: int) -> tuple[int, int] | None:
        """Takes a slot for a sequence that will hold up to `limit` cells, while others will need `reserved` more than
        they hold: its number, and how many tokens are in its cache already. None when there is no room even without
        idle caches."""
        idle = self.idle()
        if not idle:
            return None
        return self._place_shared(idle, tokens, limit, reserved) if self.shared else self._place(idle, tokens, limit)

    def fits(self, tokens: list[int], limit: int, reserved: int, without: Collection[int] = ()) -> bool:
        """Whether there would be room if all that is idle, and the slots `without`, were given up."""
        if not self.shared:
            return limit <= self.room
        busy = [slot for slot in self.slots if slot.busy and slot.number not in without]
        held = len({id(cell) for slot in busy for cell in slot.cells})
        shared = max((common for _, common in self._overlaps(tokens, busy)), default=0)
        return limit + reserved + held <= self.room + shared

    def _place(self, idle: list[Slot], tokens: list[int], limit: int) -> tuple[int, int] | None:
        if limit > self.room:
            return None
        target, keep = idle[0], 0
        best, common = self._longest(tokens, idle)
        # A long cache is not given up for the few tokens that all conversations begin with.
        if best is not None and (common * 2 >= min(len(best.tokens), len(tokens)) or best is target):
            target, keep = best, common
        return self._take(target, keep)

    def _place_shared(self, idle: list[Slot], tokens: list[int], limit: int, reserved: int) -> tuple[int, int] | None:
        if not self.fits(tokens, limit, reserved):
            return None
        best, common = self._longest(tokens, self.slots)
        others = [slot for slot in idle if slot is not best]
        target, source = (others or idle)[0], best
        if best is not None and not best.busy and (common == len(best.tokens) or not others):
            target, source = best, None
        keep = common if source is None and target is best else 0
        self.trim(target.number, keep)
        needed = reserved + limit - common
        self._make_room(needed, target, source)
        if self.used + needed > self.room and source is not None and not source.busy:
            target, source = source, None
            self.trim(target.number, common)
        if self.used + needed > self.room:
            return None
        if source is not None:
            self._copy(source, target, common)
        return self._take(target, common)

    def _make_room(self, needed: int, *spared: Slot | None) -> None:
        """Forgets idle caches, the one used longest ago first."""
        for slot in self.idle():
            if self.used + needed <= self.room:
                return
            if slot not in spared:
                self.trim(slot.number, 0)

    def _take(self, slot: Slot, keep: int) -> tuple[int, int]:
        self.trim(slot.number, keep)
        slot.busy = True
        return slot.number, keep

    def _put_aside(self, slot: Slot) -> None:
        tokens = tuple(slot.tokens)
        if any(other is not slot and common_prefix(other.tokens, slot.tokens) == len(tokens) for other in self.slots):
            return
        key, gone = self.shelf.put(tokens)
        if key is not None:
            self.operations.append(Save(slot.number, key, tokens, tuple(gone)))

    def fetch(self, number: int, tokens: list[int], room: int) -> int:
        """Replaces a taken slot's cache by one from the shelf that begins `tokens` with clearly more, if it fits
        `room`; how many tokens the slot holds now."""
        slot = self.slots[number]
        best, keep = None, len(slot.tokens) + self.shelf.least
        for key, kept in self.shelf.overlaps(tokens) if self._reuse else ():
            common = min(common_prefix(list(kept), tokens), len(tokens) - 1)
            if common > keep and len(kept) <= room and (self._partial or common == len(kept)):
                best, keep = key, common
        if best is None:
            return len(slot.tokens)
        self.trim(number, 0)
        self.shelf.use(best)
        self.operations.append(Restore(best, number, keep))
        self.extend(number, tokens[:keep])
        return keep

    def _copy(self, source: Slot, target: Slot, keep: int) -> None:
        self.operations.append(Copy(source.number, target.number, keep))
        target.tokens = source.tokens[:keep]
        target.cells = source.cells[:keep]
        for cell in target.cells:
            cell.references += 1

    def _longest(self, tokens: list[int], slots: Collection[Slot]) -> tuple[Slot | None, int]:
        """At least the last token is left to decode: its logits are wanted."""
        found: tuple[Slot | None, int] = (None, 0)
        for slot, common in self._overlaps(tokens, slots):
            # Of equals the one used last: the other may be forgotten sooner.
            if common > found[1] or (common == found[1] and found[0] is not None and slot.used_at > found[0].used_at):
                found = slot, common
        return found

    def _overlaps(self, tokens: list[int], slots: Collection[Slot]) -> Iterator[tuple[Slot, int]]:
        for slot in slots if self._reuse else ():
            common = min(common_prefix(slot.tokens, tokens), len(tokens) - 1)
            if common > 0 and (self._partial or (common == len(slot.tokens) and not slot.busy)):
                yield slot, common


def common_prefix(left: list[int], right: list[int]) -> int:
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
