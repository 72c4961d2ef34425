"""Which caches were put aside when their slot was needed, and which of them must go when the shelf is full. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence


class Shelf:
    def __init__(self, room: int, kept: Iterable[tuple[int, tuple[int, ...]]] = (), *, least: int = 64) -> None:
        """`room` in tokens, 0 for no shelf; `kept` from an earlier life, the one used longest ago first. Reading fewer
        tokens than `least` again is cheaper than fetching them."""
        self.room = room
        self.least = least
        self.kept: dict[int, tuple[int, ...]] = dict(kept)  # in order of use
        self._keys = itertools.count(max(self.kept, default=0) + 1)

    def put(self, tokens: tuple[int, ...]) -> tuple[int | None, list[int]]:
        """A key for the cache, None when it is not worth keeping, and the keys of what must go for it."""
        if not self.least <= len(tokens) <= self.room or any(
            kept[: len(tokens)] == tokens for kept in self.kept.values()
        ):
            return None, []
        gone = [key for key, kept in self.kept.items() if tokens[: len(kept)] == kept]
        total = sum(len(kept) for key, kept in self.kept.items() if key not in gone)
        for key, kept in self.kept.items():
            if total + len(tokens) <= self.room:
                break
            if key not in gone:
                gone.append(key)
                total -= len(kept)
        for key in gone:
            del self.kept[key]
        key = next(self._keys)
        self.kept[key] = tokens
        return key, gone

    def use(self, key: int) -> None:
        self.kept[key] = self.kept.pop(key)

    def drop(self, key: int) -> None:
        self.kept.pop(key, None)

    def overlaps(self, tokens: Sequence[int]) -> Iterable[tuple[int, Sequence[int]]]:
        """What begins like `tokens`, roughly: the first token is the same."""
        return ((key, kept) for key, kept in self.kept.items() if kept[0] == tokens[0])
