"""A store filled without importing or embedding: rows, words and vectors of made-up conversations, in a peer process.

The words have the frequencies of a language (the n-th most frequent one occurs a share of 1/n), because a full-text
index of evenly spread words is far quicker than a real one. The vectors are real ones of a few texts, moved a little.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlmodel import insert

from storage import chunks
from storage.database import transaction
from storage.ids import new_id
from storage.indexes import target
from storage.tables import LOCAL_OWNER, Conversation, Message
from storage.vectors import VectorIndex
from workers import registry

COMMON = """the to a i and you is it of in for my that this on do can with how be have not what if or are me as so but your
use at when no we would should there an like then get was work one does just from time will need""".split()
KNOWN = 30_000  # words
MESSAGES, SHORTEST, LONGEST = 20, 20, 140  # per conversation, and words of a message; each is one chunk
BASES, CLOSE = 2000, 0.85  # vectors the others are made from, and the cosine to the one it was made from, about
BATCH = 2000
SINCE = datetime(2020, 1, 1, tzinfo=UTC)


def vocabulary(seed: int = 1) -> list[str]:
    """Words by frequency, the most frequent first."""
    chance = random.Random(seed)
    starts, middles, ends = "b c d f g h k l m n p r s t v w st tr pl".split(), "a e i o u ai ea oo".split(), "n r s t l m nd ck".split()
    made: dict[str, None] = dict.fromkeys(COMMON)
    while len(made) < KNOWN:
        syllables = range(chance.choice((1, 2, 2, 3)))
        made["".join(chance.choice(part) for _ in syllables for part in (starts, middles)) + chance.choice(ends)] = None
    return list(made)


class Speaker:
    """Says words of the vocabulary by their frequency. The same seed says the same."""

    def __init__(self, seed: int) -> None:
        self._known = vocabulary()
        self._chance = random.Random(seed)
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, KNOWN + 1)))

    def say(self, shortest: int, longest: int) -> str:
        return " ".join(self._chance.choices(self._known, cum_weights=self._weights, k=self._chance.randint(shortest, longest)))


def questions(count: int, seed: int) -> list[str]:
    """What people type: two to seven words, by their frequency."""
    speaker = Speaker(seed)
    return [speaker.say(2, 7) for _ in range(count)]


def fill(count: int, seed: int) -> dict[str, Any]:
    """`count` more chunks; returns seconds spent on rows and on vectors."""
    embedder, speaker, spent = registry.embedder(), Speaker(seed), {"rows": 0.0, "vectors": 0.0}
    bases = embedder.embed([speaker.say(SHORTEST, LONGEST) for _ in range(min(BASES, count))])
    noise = np.random.default_rng(seed)
    with transaction() as session:
        name = target(session, LOCAL_OWNER, embedder.name, rebuild=False).name
    index = VectorIndex(name)
    for batch in itertools.batched(_rows(count, speaker, name), BATCH) if hasattr(itertools, "batched") else _batched(_rows(count, speaker, name)):
        started = time.perf_counter()
        _write([row for row in batch])
        spent["rows"] += time.perf_counter() - started
        started = time.perf_counter()
        vectors = _near(bases, len(batch), noise)
        index.upsert(
            [chunk["id"] for *_, chunk in batch],
            vectors,
            [{"owner_id": LOCAL_OWNER, "conversation_id": chunk["conversation_id"]} for *_, chunk in batch],
        )
        spent["vectors"] += time.perf_counter() - started
    return spent


def _batched(rows: Iterator[Any]) -> Iterator[tuple[Any, ...]]:
    while batch := tuple(itertools.islice(rows, BATCH)):
        yield batch


def _near(bases: NDArray[np.float32], count: int, noise: np.random.Generator) -> NDArray[np.float32]:
    chosen = bases[noise.integers(len(bases), size=count)]
    moved = noise.standard_normal(chosen.shape, dtype=np.float32)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    made = CLOSE * chosen + (1 - CLOSE**2) ** 0.5 * moved
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def _rows(count: int, speaker: Speaker, index: str) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any], dict[str, Any]]]:
    """(conversation or None where it goes on, message, chunk)"""
    conversation: dict[str, Any] = {}
    for number in range(count):
        at = SINCE + timedelta(minutes=number)
        position = number % MESSAGES
        if position == 0:
            conversation_id = new_id()
            conversation = {"id": conversation_id, "owner_id": LOCAL_OWNER, "native_id": conversation_id, "source": "chatgpt", "title": speaker.say(2, 6),
                "content_version": 1, "indexed_version": 1, "created_at": at, "updated_at": at}
        message_id = new_id()
        text = speaker.say(SHORTEST, LONGEST)
        message = {"id": message_id, "native_id": message_id, "conversation_id": conversation["id"], "position": position,
            "role": "assistant" if position % 2 else "user", "content": text, "created_at": at}
        chunk = {"id": f"{message_id}", "conversation_id": conversation["id"], "message_id": message_id, "start": 0, "end": len(text), "text": text, "embedding_model": index, "created_at": at}
        yield conversation if position == 0 else None, message, chunk


def _write(batch: list[tuple[dict[str, Any] | None, dict[str, Any], dict[str, Any]]]) -> None:
    with transaction() as session:
        session.execute(insert(Conversation), [row for row, _, _ in batch if row is not None])
        session.execute(insert(Message), [row for _, row, _ in batch])
        chunks.add(session, [row for *_, row in batch])
