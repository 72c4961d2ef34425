"""The other end of `benchmarks.retrieval`: the labelled conversations, and four ways to look for them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from benchmarks import labelled
from storage import chunks, conversations, indexes, users
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from storage.vectors import VectorIndex
from storage.words import parse
from tasks.embeddings import request_embedding
from tasks.search import POOL, find_conversations
from workers import registry

VECTORS, TEXT, FUSED, HYBRID = "vectors alone", "full text alone (BM25)", "reciprocal rank fusion", "hybrid"
FUSION = 60  # the constant everybody uses
# Any of the words, ranked as SQLite does by itself; our own search has another order.
BM25 = """SELECT chunk_id FROM chunk_words JOIN chunk_key ON number = chunk_words.rowid
WHERE chunk_words MATCH ? ORDER BY rank LIMIT ?"""
_keys: dict[str, str] = {}  # by conversation id


def write() -> int:
    """The conversations, on their way to be embedded."""
    listed = labelled.conversations()
    with transaction() as session:
        users.ensure_local_owner(session)
        for said in listed:
            found = conversations.upsert(session, LOCAL_OWNER, *labelled.rows(said))
            _keys[found.conversation_id] = said.key
        request_embedding(session, LOCAL_OWNER)
    return len(listed)


def ask() -> dict[str, list[list[str]]]:
    """What each way finds for each question, as keys, the best first."""
    registry.embedder()  # the first question must not wait for it
    texts = [question.text for question in labelled.questions()]
    ways = {VECTORS: _by_vectors, TEXT: _by_words, FUSED: _fused, HYBRID: _hybrid}
    return {name: [[_keys[found] for found in way(text)] for text in texts] for name, way in ways.items()}


def _hybrid(text: str) -> list[str]:
    return [hit["conversation_id"] for hit in find_conversations(LOCAL_OWNER, text, 100, 0)["results"]]


def _by_vectors(text: str) -> list[str]:
    vector = registry.embedder().embed([text], urgent=True)[0]
    return _collapsed([chunk_id for chunk_id, _ in VectorIndex(_index()).query(vector, POOL)])


def _by_words(text: str) -> list[str]:
    asked = " OR ".join(f'"{term}"' for term in parse(text).terms) or '""'
    with reading() as session:
        return _collapsed(list(session.connection().exec_driver_sql(BM25, (asked, POOL)).scalars()))


def _fused(text: str) -> list[str]:
    scores: dict[str, float] = {}
    for found in (_by_vectors(text), _by_words(text)):
        for place, conversation_id in enumerate(found):
            scores[conversation_id] = scores.get(conversation_id, 0.0) + 1 / (FUSION + place + 1)
    return sorted(scores, key=lambda conversation_id: -scores[conversation_id])


def _collapsed(chunk_ids: Sequence[str]) -> list[str]:
    """Each conversation once, where its best chunk stands."""
    with reading() as session:
        rows = chunks.load(session, LOCAL_OWNER, chunk_ids)
    return list(dict.fromkeys(rows[chunk_id].conversation_id for chunk_id in chunk_ids if chunk_id in rows))


@functools.cache
def _index() -> str:
    with reading() as session:
        name = indexes.serving(session, LOCAL_OWNER)
    assert name is not None
    return name
