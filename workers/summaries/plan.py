"""Cuts a conversation into pieces that fit a model's window, so that the same words are cut the same way again.

A piece ends between two messages. Where, its own words decide: of the boundaries in the second half of what fits, the
one behind the message of the lowest hash. New messages at the end change the last piece only, and behind an edit in
the middle the cuts soon fall where they fell before. A boundary that ends a piece of which a summary is kept goes
first: new messages then stand in a piece of their own, and what was summarised is not read again.

No model and no clock: tokens are counted by whoever asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from workers.embedding.chunking import split
from workers.ports import Turn

CountTokens = Callable[[str], int]

SEPARATOR = "\n\n"
# Of each item, for the separator before it. A tokenizer that joins across it counts fewer, hardly ever more.
SEPARATOR_TOKENS = 3


@dataclass(frozen=True, slots=True)
class Item:
    """A message, a part of a long one, or the summary of a piece. `tokens` with the separator; `day` as 2025-01-31."""

    text: str
    tokens: int
    first_day: str = ""
    last_day: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbours that are summarised together. `digest` names the words, the instruction and the model."""

    items: tuple[Item, ...]
    digest: str

    @property
    def text(self) -> str:
        return SEPARATOR.join(item.text for item in self.items)

    @property
    def days(self) -> tuple[str, str]:
        """The first and the last day on which something of it was said; empty where nobody knows."""
        known = [day for item in self.items for day in (item.first_day, item.last_day) if day]
        return (known[0], known[-1]) if known else ("", "")


def items_of(turns: Sequence[Turn], count_tokens: CountTokens, limit: int) -> list[Item]:
    """Every message that says something, in order; one of more than `limit` tokens in several items."""
    return [item for turn in turns if turn.content.strip() for item in _items(turn, count_tokens, limit)]


def _items(turn: Turn, count_tokens: CountTokens, limit: int) -> Iterator[Item]:
    speaker, content = turn.role.capitalize(), turn.content.strip()
    day = turn.said_at.date().isoformat() if turn.said_at else ""
    texts = [f"{speaker}: {content}"]
    tokens = [count_tokens(texts[0]) + SEPARATOR_TOKENS]
    if tokens[0] > limit:
        texts = list(_parted(f"{speaker} (continued): ", content, count_tokens, limit))
        texts[0] = texts[0].replace(" (continued)", "", 1)
        tokens = [count_tokens(text) + SEPARATOR_TOKENS for text in texts]
    yield from (Item(text, count, day, day) for text, count in zip(texts, tokens, strict=True))


def _parted(speaker: str, content: str, count_tokens: CountTokens, limit: int) -> Iterator[str]:
    # One more than the speaker's name: a tokenizer may part name and word differently than each alone.
    room = max(1, limit - SEPARATOR_TOKENS - count_tokens(speaker) - 1)
    for chunk in split(content, lambda texts: [count_tokens(text) for text in texts], room):
        yield speaker + chunk.text


def cut(items: Sequence[Item], limit: int, known: Container[str], *, made_by: str) -> list[Piece]:
    """The items in pieces of at most `limit` tokens (an item of more is a piece of its own), each but the last at least
    half full where items allow it. `known`: digests of which a summary is kept; `made_by`: model and instruction."""
    pieces: list[Piece] = []
    start = 0
    while start < len(items):
        end, digest = _end(items, start, limit, known, made_by)
        pieces.append(Piece(tuple(items[start:end]), digest))
        start = end
    return pieces


def _end(items: Sequence[Item], start: int, limit: int, known: Container[str], made_by: str) -> tuple[int, str]:
    """Where the piece that begins at `start` ends, and its digest."""
    hashed = hashlib.sha256(made_by.encode())
    candidates: list[tuple[int, str]] = []
    total = 0
    for end in range(start + 1, len(items) + 1):
        item = items[end - 1]
        if total + item.tokens > limit and end > start + 1:
            break
        if total < limit // 2:
            candidates.clear()  # less than half full: no place to end where more fits
        total += item.tokens
        hashed.update(f"\0{item.first_day}\0{item.last_day}\0{item.text}".encode("utf-8", "surrogatepass"))
        candidates.append((end, hashed.hexdigest()))
    else:
        return candidates[-1]
    kept = [candidate for candidate in candidates if candidate[1] in known]
    return kept[-1] if kept else min(candidates, key=lambda candidate: (_rank(items[candidate[0] - 1]), -candidate[0]))


def _rank(item: Item) -> bytes:
    return hashlib.blake2b(item.text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
