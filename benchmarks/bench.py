"""What every section is given, and how rounds are taken in turn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bench:
    """`folder` is this section's own and is removed afterwards. `threads`: of every language model."""

    section: str
    folder: Path
    quick: bool
    threads: int = 1

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.section}: {text}", file=sys.stderr, flush=True)


def in_turn(bench: Bench, rounds: int, systems: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Every system once per round, forwards and backwards in turn, so that drift of the machine meets all alike."""
    found: dict[str, list[T]] = {name: [] for name in systems}
    for number in range(rounds):
        order = list(systems) if number % 2 == 0 else list(systems)[::-1]
        for name in order:
            bench.say(f"round {number + 1} of {rounds}: {name}")
            found[name].append(systems[name]())
    return found
