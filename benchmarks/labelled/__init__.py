"""Conversations somebody might have had, and questions of which it is known what they look for.

`conversations_*.txt` and `queries.txt` are written by hand, the distractors about the same subjects are put together
from a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.labelled.distractors import distractors
from benchmarks.labelled.said import Said
from tests.factories import imported

HERE = Path(__file__).parent
KINDS = ("paraphrase", "identifier", "name", "date", "common")


@dataclass(frozen=True, slots=True)
class Question:
    """`right`: keys of the conversations that are looked for. `tuned`: weights were chosen by this one; the others
    show what they are worth."""

    kind: str
    text: str
    right: frozenset[str]
    tuned: bool


def questions() -> list[Question]:
    found: list[Question] = []
    for line in (HERE / "queries.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            kind, text, right = (part.strip() for part in line.split("|"))
            place = sum(one.kind == kind for one in found)
            found.append(Question(kind, text, frozenset(right.split()), tuned=place % 2 == 0))
    return found


def conversations(count: int = 450, seed: int = 5) -> list[Said]:
    """The labelled ones, and distractors up to `count`."""
    written = [said for path in sorted(HERE.glob("conversations_*.txt")) for said in _read(path)]
    return [*written, *distractors(count - len(written), seed)]


def _read(path: Path) -> Iterator[Said]:
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        head, *lines = block.strip().splitlines()
        key, day, title = (part.strip() for part in head.removeprefix("@").split("|"))
        yield Said(key, datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC), title, [line[2:] for line in lines])


def rows(said: Said) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `storage.conversations.upsert` takes."""
    return imported(said.key, said.texts, title=said.title, created_at=said.day, updated_at=said.day)
