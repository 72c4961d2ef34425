"""What is shown of a passage that was found. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from storage.words import words

SNIPPET_CHARS = 320


def excerpt(text: str, asked: Sequence[str]) -> dict[str, Any]:
    """{snippet, highlights} for the words of a query."""
    cut = snippet(text, asked)
    return {"snippet": cut, "highlights": highlights(cut, asked)}


def snippet(text: str, asked: Sequence[str]) -> str:
    """About SNIPPET_CHARS around the first word of the query that occurs, else the beginning."""
    found = _any_of(tuple(asked)).search(text) if asked else None
    middle = found.start() if found else 0
    start = max(0, min(middle - SNIPPET_CHARS // 3, len(text) - SNIPPET_CHARS))
    cut = text[start : start + SNIPPET_CHARS].strip()
    return f"{'…' if start else ''}{cut}{'…' if start + SNIPPET_CHARS < len(text) else ''}"


@functools.lru_cache(maxsize=64)  # making one takes as long as searching a page of passages
def _any_of(asked: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, asked))})", re.IGNORECASE)


def highlights(text: str, asked: Sequence[str]) -> list[tuple[int, int]]:
    """Where the query's words stand in a snippet: [start, end) in characters, in order. Marking is left to whoever
    shows it: text from anywhere never becomes markup here."""
    wanted = set(asked)
    return [match.span() for match in re.finditer(r"[^\W_]+", text) if _is_one(match.group(), wanted)]


def _is_one(word: str, wanted: set[str]) -> bool:
    return word.lower() in wanted if word.isascii() else not wanted.isdisjoint(words(word))
