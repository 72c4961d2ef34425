"""What a search found: its order, the page that is asked for, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from config.settings import get_settings
from storage import chunks, conversations
from storage.chunks import FoundChunk
from storage.conversations import Outline
from storage.database import Session, reading
from storage.filters import NO_FILTERS
from tasks.excerpts import excerpt
from tasks.ranking import reordered
from tasks.reranking import rerank_scores


class Hit(NamedTuple):
    conversation_id: str
    why: str
    score: float
    chunk_id: str | None = None
    of_then: bool = True  # of the time that the query names, where it names one
    reranked: float | None = None  # the reranking model's own score

    @property
    def is_named(self) -> bool:
        """By its address or by every word of its title."""
        return self.score == 1.0 and self.why in ("url", "title")


def by_relevance(hits: Iterable[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (not hit.is_named, 0.0 if hit.is_named else -hit.score))


def reranked(asked: str, hits: list[Hit]) -> tuple[list[Hit], str | None]:
    """What was said in the best ones, read again: they change places, and the scores stay with the places. Who was
    named stands where it stood; what was said at another time than the named one does not come before it. The second
    says why nothing was read, where it should have been."""
    settings = get_settings()
    if not settings.rerank_model:
        return hits, None
    best = {at: hit for at, hit in enumerate(hits[: settings.rerank_best]) if not hit.is_named and hit.of_then}
    with reading() as session:
        texts = chunks.texts(session, [hit.chunk_id for hit in best.values() if hit.chunk_id is not None])
    places = [at for at, hit in best.items() if hit.chunk_id in texts]
    scores, late = rerank_scores(asked, [texts[best[at].chunk_id or ""] for at in places])
    if scores is None:
        return hits, late
    listed, score_of = list(hits), dict(zip(places, scores, strict=True))
    for place, source in reordered(scores, places).items():
        listed[place] = best[source]._replace(score=best[place].score, reranked=score_of[source])
    return listed, None


def page_of(
    session: Session, owner_id: str, hits: list[Hit], sort: tuple[str, str], page: slice
) -> list[tuple[Hit, Outline]]:
    """Hits, the best first, in the order that is wanted. Only an order that is not ours needs the rows of those on
    other pages."""
    by, direction = sort
    if by == "relevance":
        hits = hits[:: 1 if direction == "desc" else -1][page]
    rows = {
        row.id: row
        for row in conversations.outlines(session, owner_id, [hit.conversation_id for hit in hits], NO_FILTERS)
    }
    listed = [(hit, rows[hit.conversation_id]) for hit in hits if hit.conversation_id in rows]
    if by == "relevance":
        return listed

    def key(pair: tuple[Hit, Outline]) -> tuple[Any, str]:
        row = pair[1]
        return row.title.casefold() if by == "title" else getattr(row, by), row.id

    return sorted(listed, key=key, reverse=direction == "desc")[page]


def shown(
    session: Session, owner_id: str, page: Sequence[tuple[Hit, Outline]], asked: Sequence[str]
) -> list[dict[str, Any]]:
    found = chunks.load(session, owner_id, [hit.chunk_id for hit, _ in page if hit.chunk_id is not None])
    return [_json(hit, row, found.get(hit.chunk_id or ""), asked) for hit, row in page]


def _json(hit: Hit, row: Outline, passage: FoundChunk | None, asked: Sequence[str]) -> dict[str, Any]:
    return {
        "conversation_id": row.id,
        "title": row.title,
        "source": row.source,
        "url": row.url,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        "why": hit.why,
        "score": round(hit.score, 4),
        "reranked": None if hit.reranked is None else round(hit.reranked, 4),
        "kind": passage.kind if passage else None,
        "message_id": passage.message_id if passage else None,
        "file_id": passage.file_id if passage else None,
        "filename": passage.filename if passage else None,
        "draft_id": passage.draft_id if passage else None,
        "draft_title": passage.draft if passage else None,
        "role": passage.role if passage else None,
        **(excerpt(passage.text, asked) if passage else {"snippet": None, "highlights": []}),
    }
