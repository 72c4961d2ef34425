"""Decodes turbo-stream, version 2: how a React Router page carries its data.

The first line is a pool, a JSON array in which everything stands once and refers to the rest by index; later lines
(`P20:[…]`) settle promises and add to the pool. A pool from a stranger may refer to itself, which ends in None, or to
the same things so often that walking it would never end, which is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_NODES = 5_000_000  # of the whole, counted as often as they are referred to

_CONSTANTS: dict[int, Any] = {-4: 0, -6: None}  # -0; the rest (hole, NaN, null, infinities, undefined) is None
_SETTLED = re.compile(r"([PE])(\d{1,9}):")


def decode(text: str) -> Any:
    """Raises ValueError."""
    pool = _Pool()
    lines = [line for line in text.split("\n") if line.strip()]
    beginning = [line for line in lines if not _SETTLED.match(line)]
    if not beginning:
        raise ValueError("there is no pool")
    root = pool.add(beginning[0])
    for line in lines:
        settled = _SETTLED.match(line)
        if settled:
            index = pool.add(line[settled.end() :])
            if settled.group(1) == "P":
                pool.promises[int(settled.group(2))] = index
    return pool.build(root)


class _Pool:
    def __init__(self) -> None:
        self.values: list[Any] = []
        self.promises: dict[int, int] = {}

    def add(self, line: str) -> int:
        """The index of what the line stands for."""
        try:
            found = json.loads(line, parse_constant=lambda _: None)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if isinstance(found, int):
            return found
        if not isinstance(found, list):
            raise ValueError("this is no pool")
        self.values += found
        return len(self.values) - len(found)

    def build(self, root: int) -> Any:
        """From the leaves up, without recursion. What is still being built when it is referred to is a circle."""
        done: dict[int, Any] = {}
        sizes: dict[int, int] = {}
        entered: set[int] = set()
        waiting = [root]
        while waiting:
            index = waiting[-1]
            if index in done:
                waiting.pop()
            elif index not in entered:
                entered.add(index)
                waiting += [below for below in self._below(index) if below not in entered]
            else:
                waiting.pop()
                sizes[index] = 1 + sum(sizes.get(below, 0) for below in self._below(index))
                if sizes[index] > MAX_NODES:
                    raise ValueError("it refers to the same things too often")
                done[index] = self._made(index, done)
        return done.get(root)

    def _value(self, index: int) -> Any:
        return self.values[index] if 0 <= index < len(self.values) else _CONSTANTS.get(index)

    def _below(self, index: int) -> list[int]:
        value = self._value(index)
        if isinstance(value, dict):
            return [below for below in value.values() if type(below) is int]
        if not isinstance(value, list) or not value:
            return []
        kind = value[0]
        if kind == "P":
            return [self.promises[number] for number in value[1:2] if type(number) is int and number in self.promises]
        if kind == "N" and isinstance(value[1:2], list) and value[1:2] and isinstance(value[1], dict):
            return [below for below in value[1].values() if type(below) is int]
        return [] if kind in _PLAIN else [below for below in value if type(below) is int]

    def _made(self, index: int, done: dict[int, Any]) -> Any:
        value = self._value(index)
        if isinstance(value, dict):
            return self._object(value, done)
        if not isinstance(value, list) or not value:
            return value
        kind = value[0]
        if not isinstance(kind, str):
            return [done.get(below) if type(below) is int else None for below in value]
        if kind in _PLAIN:
            return value[1] if len(value) > 1 and isinstance(value[1], str | int | float) else None
        if kind == "N":
            return self._object(value[1], done) if len(value) > 1 and isinstance(value[1], dict) else None
        below = [done.get(at) for at in self._below(index)]
        if kind in ("P", "Z"):
            return below[0] if below else None
        if kind == "M":
            return {key: item for key, item in zip(below[::2], below[1::2], strict=False) if isinstance(key, str)}
        return below  # a set, or a type of the application's own

    def _object(self, value: dict[str, Any], done: dict[int, Any]) -> dict[str, Any]:
        """{"_<index of the key>": index of the value}."""
        found: dict[str, Any] = {}
        for key, below in value.items():
            name = self._value(int(key[1:])) if re.fullmatch(r"_\d{1,9}", key) else None
            if isinstance(name, str) and type(below) is int:
                found[name] = done.get(below)
        return found


_PLAIN = ("D", "U", "B", "R", "Y", "E")  # date, URL, bigint, regular expression, symbol, error: the value follows
