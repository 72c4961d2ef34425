"""A store filled without importing or embedding: rows, words and vectors of made-up conversations, in a peer process.

The words have the frequencies of a language (the n-th most frequent one has a share of 1/n), because a full-text index
of evenly spread words is far quicker than a real one. The vectors are those of a few texts, moved a little, so that a
search finds as many that are near as it can.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import chunks, conversations, indexes, messages, users
from storage.database import reading, transaction
from storage.ids import new_id
from storage.tables import LOCAL_OWNER, Message
from storage.vectors import VectorIndex
from tasks.search import POOL, find_conversations
from tests.factories import imported
from workers import registry

COMMON = (
    "the to a i and you is it of in for my that this on do can with how be have not what if or are me as so but your "
    "use at when no we would should there an like then get was work one does just from time will need"
)
KNOWN = 30_000  # words
PER_CONVERSATION = 20  # messages; each is one chunk
SHORTEST, LONGEST = 20, 140  # words of a message
BASES, CLOSE = 500, 0.85  # vectors the others are made from, and about the cosine to the one it was made from
BATCH = 100  # conversations written together
SINCE = datetime(2020, 1, 1, tzinfo=UTC)


class Speaker:
    """Says words by their frequency. The same seed says the same."""

    def __init__(self, seed: int) -> None:
        self._known = _vocabulary()
        self._chance = random.Random(seed)
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, KNOWN + 1)))

    def say(self, shortest: int, longest: int) -> str:
        count = self._chance.randint(shortest, longest)
        return " ".join(self._chance.choices(self._known, cum_weights=self._weights, k=count))


def _vocabulary() -> list[str]:
    """Words by frequency, the most frequent first."""
    chance = random.Random(1)
    starts = ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl"]
    middles, ends = ["a", "e", "i", "o", "u", "ai", "ea", "oo"], ["n", "r", "s", "t", "l", "m", "nd", "ck"]
    made: dict[str, None] = dict.fromkeys(COMMON.split())
    while len(made) < KNOWN:
        syllables = [chance.choice(starts) + chance.choice(middles) for _ in range(chance.choice((1, 2, 2, 3)))]
        made["".join(syllables) + chance.choice(ends)] = None
    return list(made)


def questions(count: int, seed: int) -> list[str]:
    """What people type: two to seven words, by their frequency."""
    speaker = Speaker(seed)
    return [speaker.say(2, 7) for _ in range(count)]


# --- called in the peer


def fill(count: int, seed: int) -> dict[str, float]:
    """`count` more chunks; returns the seconds spent on rows and on vectors."""
    embedder, speaker, noise = registry.embedder(), Speaker(seed), np.random.default_rng(seed)
    bases = embedder.embed([speaker.say(SHORTEST, LONGEST) for _ in range(BASES)])
    with transaction() as session:
        users.ensure_local_owner(session)
        name = indexes.target(session, LOCAL_OWNER, embedder.name, rebuild=False).name
    vectors, spent = VectorIndex(name), {"rows": 0.0, "vectors": 0.0}
    for first in range(0, count, BATCH * PER_CONVERSATION):
        started = time.perf_counter()
        rows: list[dict[str, Any]] = []
        with transaction() as session:
            for at in range(first, min(count, first + BATCH * PER_CONVERSATION), PER_CONVERSATION):
                turns = [speaker.say(SHORTEST, LONGEST) for _ in range(min(PER_CONVERSATION, count - at))]
                day, title = SINCE + timedelta(minutes=at), speaker.say(2, 6)
                said = imported(f"{seed}-{at}", turns, title=title, created_at=day, updated_at=day)
                conversation_id = conversations.upsert(session, LOCAL_OWNER, *said).conversation_id
                indexes.mark_indexed(session, conversation_id, indexes.Target(name, new=False), 1)
                rows += [_chunk(message, name) for message in messages.path(session, conversation_id)]
            chunks.add(session, rows)
        spent["rows"] += time.perf_counter() - started
        started = time.perf_counter()
        metadatas = [{"owner_id": LOCAL_OWNER, "conversation_id": row["conversation_id"]} for row in rows]
        vectors.upsert([row["id"] for row in rows], _near(bases, len(rows), noise), metadatas)
        spent["vectors"] += time.perf_counter() - started
    return spent


def inside(tries: int, seed: int) -> dict[str, list[float]]:
    """Milliseconds of a whole search without the web and the queue, and of the bare query to Chroma within it."""
    texts, embedder = questions(tries + 10, seed), registry.embedder()
    with reading() as session:
        vectors = VectorIndex(indexes.serving(session, LOCAL_OWNER) or "")
    found: dict[str, list[float]] = {"search": [], "chroma": []}
    for text in texts:
        vector = embedder.embed([text], urgent=True)[0]
        found["chroma"].append(_milliseconds(lambda vector=vector: vectors.query(vector, POOL)))  # type: ignore[misc]
    for text in texts:
        found["search"].append(_milliseconds(lambda text=text: find_conversations(LOCAL_OWNER, text, 20, 0)))  # type: ignore[misc]
    return {name: values[10:] for name, values in found.items()}


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def _near(bases: NDArray[np.float32], count: int, noise: np.random.Generator) -> NDArray[np.float32]:
    chosen = bases[noise.integers(len(bases), size=count)]
    moved = noise.standard_normal(chosen.shape, dtype=np.float32)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    made = CLOSE * chosen + (1 - CLOSE**2) ** 0.5 * moved
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def _chunk(message: Message, index: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "conversation_id": message.conversation_id,
        "message_id": message.id,
        "start": 0,
        "end": len(message.content),
        "text": message.content,
        "embedding_model": index,
        "created_at": SINCE,
    }
