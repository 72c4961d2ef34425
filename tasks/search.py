"""Search: a question to the index worker, whose model stays loaded; no row, no trace."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from config.celery import celery_app
from config.errors import BackchannelError, Unavailable
from config.logging import log
from config.queues import SEARCH_QUEUE
from config.settings import get_settings
from storage import chunks, conversations, queue
from storage.chunks import FoundChunk
from storage.database import reading
from storage.tables import Conversation
from storage.vectors import VectorIndex
from workers import registry
from workers.ports import Passage

SEARCH_TASK = "search.query"
SNIPPET_CHARS = 320
# Several chunks of one conversation share a hit, so more are fetched than hits are wanted.
CHUNKS_PER_HIT = 5
# A conversation longer than this may still crowd the others out of what it asks; the index slows down with each.
MOST_DROPPED = 1000


@dataclass(frozen=True, slots=True)
class Retrieval:
    """`not_in`: a conversation to leave out, the one that asks."""

    owner_id: str
    text: str
    limit: int
    not_in: str | None = None


@celery_app.task(name=SEARCH_TASK)  # type: ignore[untyped-decorator]
def answer(question: dict[str, Any], reply_to: str) -> None:
    """Answer one search: {mode: search|passages, owner_id, text, limit, offset?, not_in?}."""
    try:
        if question["mode"] == "passages":
            passages = find_passages(
                Retrieval(question["owner_id"], question["text"], question["limit"], question.get("not_in"))
            )
            value: Any = [asdict(passage) for passage in passages]
        else:
            value = find_conversations(question["owner_id"], question["text"], question["limit"], question["offset"])
        queue.reply(reply_to, value=value)
    except BackchannelError as error:
        queue.reply(reply_to, error=error)
    except Exception:
        log.exception("search failed")
        queue.reply(reply_to, error=Unavailable("The search failed inside; the log has the details."))


def retrieve(question: Retrieval, timeout_s: float) -> list[Passage]:
    """Passages for a prompt, by way of the index worker. Raises Unavailable."""
    found = queue.ask(SEARCH_TASK, SEARCH_QUEUE, {"mode": "passages", **asdict(question)}, timeout_s)
    return [Passage(**passage) for passage in found]


def _nearest(owner_id: str, text: str, limit: int, *, not_in: str | None = None) -> list[tuple[FoundChunk, float]]:
    """Chunks above the noise, nearest first."""
    embedder = registry.embedder()
    vector = embedder.embed([text], urgent=True)[0]
    # What is left out is fetched and dropped: the index's own filter finds next to nothing where most is filtered out.
    with reading() as session:
        dropped = chunks.ids_of(session, not_in) if not_in is not None else set()
    found = VectorIndex(embedder.name).query(vector, owner_id, limit + min(len(dropped), MOST_DROPPED))
    wanted = [(chunk_id, score) for chunk_id, score in found if chunk_id not in dropped]
    near = [(chunk_id, score) for chunk_id, score in wanted if score >= get_settings().search_min_score][:limit]
    with reading() as session:
        rows = chunks.load(session, owner_id, [chunk_id for chunk_id, _ in near])
    return [(rows[chunk_id], score) for chunk_id, score in near if chunk_id in rows]


def find_passages(question: Retrieval) -> list[Passage]:
    """The best chunks, each once. A question that was found stands for the answer it got: that can be quoted."""
    near = _nearest(question.owner_id, question.text, question.limit * CHUNKS_PER_HIT, not_in=question.not_in)
    with reading() as session:
        answers = chunks.replies(session, [found.chunk.message_id for found, _ in near if found.role == "user"])
    passages: dict[str, Passage] = {}
    for found, score in near:
        chunk = answers.get(found.chunk.message_id, found.chunk)
        about = found.conversation
        passages.setdefault(chunk.id, Passage(chunk.text, about.id, about.title, chunk.message_id, score))
    return list(passages.values())[: question.limit]


def find_conversations(owner_id: str, text: str, limit: int, offset: int) -> dict[str, Any]:
    """Titles that hold every word first, then conversations by their best passage; each conversation once."""
    words = text.split()
    wanted = limit + offset
    with reading() as session:
        titled = conversations.match_titles(session, owner_id, words, wanted) if words else []
    hits: dict[str, dict[str, Any]] = {row.id: _hit(row, why="title", score=1.0) for row in titled}
    for found, score in _nearest(owner_id, text, min(wanted * CHUNKS_PER_HIT, 1000)):
        hit = hits.get(found.conversation.id)
        if hit is None:
            hit = hits[found.conversation.id] = _hit(found.conversation, why="vector", score=round(score, 4))
        if hit["message_id"] is None:
            hit |= {
                "message_id": found.chunk.message_id,
                "role": found.role,
                "snippet": snippet(found.chunk.text, words),
            }
    listed = list(hits.values())
    return {"results": listed[offset:wanted], "total": len(listed), "limit": limit, "offset": offset}


def _hit(row: Conversation, *, why: str, score: float) -> dict[str, Any]:
    return {
        "conversation_id": row.id,
        "title": row.title,
        "source": row.source,
        "url": row.url,
        "updated_at": row.updated_at.isoformat(),
        "why": why,
        "score": score,
        "message_id": None,
        "role": None,
        "snippet": None,
    }


def snippet(text: str, words: list[str]) -> str:
    """About SNIPPET_CHARS around the first word of the query that occurs, else the beginning."""
    found = [match.start() for word in words if (match := re.search(rf"\b{re.escape(word)}", text, re.IGNORECASE))]
    middle = min(found, default=0)
    start = max(0, min(middle - SNIPPET_CHARS // 3, len(text) - SNIPPET_CHARS))
    cut = text[start : start + SNIPPET_CHARS].strip()
    return f"{'…' if start else ''}{cut}{'…' if start + SNIPPET_CHARS < len(text) else ''}"
