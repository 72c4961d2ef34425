"""How much of a spoken answer somebody heard who stopped it: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spoken:
    """Characters `start`..`end` of the answer, spoken from `start_ms` to `end_ms` of its audio."""

    start: int
    end: int
    start_ms: int
    end_ms: int


def heard_text(text: str, spoken: Sequence[Spoken], heard_ms: int) -> str:
    """The beginning of `text` that `heard_ms` of its audio hold, up to the last whole word."""
    end = 0
    for piece in spoken:
        if piece.end_ms <= heard_ms:
            end = piece.end
        elif piece.start_ms < heard_ms:
            share = (heard_ms - piece.start_ms) / (piece.end_ms - piece.start_ms)
            end = piece.start + _whole_words(text[piece.start : piece.end], share)
            break
        else:
            break
    return text[:end].rstrip()


def _whole_words(text: str, share: float) -> int:
    """Characters of the words that were spoken completely in this share of the time."""
    cut = int(len(text) * share)
    while 0 < cut < len(text) and not (text[cut].isspace() or text[cut - 1].isspace()):
        cut -= 1
    return cut
