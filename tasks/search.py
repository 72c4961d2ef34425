"""Search: a question to the index worker, whose model stays loaded; no row, no trace.

address ─▶ title ─▶ passages by their words and by their meaning (`tasks.passages`), weighed in `tasks.ranking`
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from config.celery import celery_app
from config.errors import BackchannelError, Unavailable
from config.logging import log
from config.queues import SEARCH_QUEUE
from config.settings import get_settings
from storage import chunks, conversations, fulltext, queue
from storage.chunks import FoundChunk
from storage.conversations import Outline
from storage.database import Session, reading
from storage.filters import NO_FILTERS, Filters
from storage.words import Query, parse, words
from tasks.dates import Period, period
from tasks.excerpts import excerpt
from tasks.passages import Found, Wanted, asked_words, find, narrowed
from tasks.ranking import rank, rank_conversations
from workers.ports import Passage

SEARCH_TASK = "search.query"
# Passages looked at for one search: the same for each of its pages, so that no hit moves from one page to another.
POOL = 200
MIN_POOL = 40  # for a prompt, which wants a few passages of several conversations
MORE_PASSAGES = 5  # for one that is wanted: several may lead to the same answer
# A mistyped title is worth this much of its likeness.
NEAR_TITLE_WEIGHT = 0.6
# Mistyped titles are looked for where less was found than this.
ENOUGH = 5
# What was said in the period that a query names, and nothing else: each is as good as the next.
DATE_SCORE = 0.5

_URL = re.compile(r"https?://\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """`not_in`: a conversation to leave out, the one that asks."""

    owner_id: str
    text: str
    limit: int
    not_in: str | None = None


@celery_app.task(name=SEARCH_TASK)  # type: ignore[untyped-decorator]
def answer(question: dict[str, Any], reply_to: str) -> None:
    """Answer one search: {mode: search|passages, owner_id, text, limit, offset?, filters?, sort?, not_in?}."""
    try:
        if question["mode"] == "passages":
            passages = find_passages(
                Retrieval(question["owner_id"], question["text"], question["limit"], question.get("not_in"))
            )
            value: Any = [asdict(passage) for passage in passages]
        else:
            value = find_conversations(
                question["owner_id"],
                question["text"],
                question["limit"],
                question["offset"],
                filters_from(question.get("filters") or {}),
                question.get("sort") or ("relevance", "desc"),
            )
        queue.reply(reply_to, value=value)
    except BackchannelError as error:
        queue.reply(reply_to, error=error)
    except Exception:
        log.exception("search failed")
        queue.reply(reply_to, error=Unavailable("The search failed inside; the log has the details."))


def filters_from(given: Mapping[str, Any]) -> Filters:
    """Filters as they come over the queue: times are ISO 8601."""
    times = {name: datetime.fromisoformat(given[name]) for name in ("since", "until") if given.get(name)}
    return Filters(**{**given, **times})


def retrieve(question: Retrieval, timeout_s: float) -> list[Passage]:
    """Passages for a prompt, by way of the index worker. Raises Unavailable."""
    found = queue.ask(SEARCH_TASK, SEARCH_QUEUE, {"mode": "passages", **asdict(question)}, timeout_s)
    return [Passage(**passage) for passage in found]


# --- passages ---------------------------------------------------------------------------------------------------------


def find_passages(question: Retrieval) -> list[Passage]:
    """The best chunks, each once. A question that was found stands for the answer it got: that can be quoted."""
    # A question to a model is prose: its quotes and dashes demand nothing.
    asked = Query(question.text, parse(re.sub(r'["\-]', " ", question.text)).terms)
    found = find(
        Wanted(question.owner_id, asked, not_in=question.not_in), max(MIN_POOL, MORE_PASSAGES * question.limit)
    )
    ranked = rank(found.passages, found.rarity, get_settings().search_min_score)[: MORE_PASSAGES * question.limit]
    chunk_ids = [one.chunk_id for one in ranked if one.chunk_id is not None]
    with reading() as session:
        rows = chunks.load(session, question.owner_id, chunk_ids)
        questions = [row.chunk.message_id for row in rows.values() if row.role == "user"]
        answers = chunks.replies(session, questions, found.index) if questions else {}
    passages: dict[str, Passage] = {}
    for one in ranked:
        row = rows.get(one.chunk_id or "")
        if row is None:
            continue
        reply, about = answers.get(row.chunk.message_id), row.conversation
        chunk, message_id = (reply, reply.message_id) if reply else (row.chunk, row.message_id)
        title = about.title if row.filename is None else f"{row.filename} ({about.title})"
        passages.setdefault(chunk.id, Passage(chunk.text, about.id, title, message_id, one.score))
    return list(passages.values())[: question.limit]


# --- conversations ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Hit:
    conversation_id: str
    why: str
    score: float
    chunk_id: str | None = None


def find_conversations(
    owner_id: str,
    text: str,
    limit: int,
    offset: int,
    filters: Filters = NO_FILTERS,
    sort: tuple[str, str] = ("relevance", "desc"),
    now: datetime | None = None,
) -> dict[str, Any]:
    """By address, by title, then by what was said; each conversation once. `sort`: (relevance|updated_at|created_at|
    title, asc|desc). `now`: from where "last week" is counted."""
    when = period(text, now or datetime.now(UTC))
    query = parse(when.rest if when else text)
    found = find(Wanted(owner_id, query, filters, period=when), POOL)
    with reading() as session:
        hits = _by_name(session, owner_id, text, query, filters)
        hits |= _by_passage(session, owner_id, found, filters, when, hits)
        if when is not None and query.is_empty:
            for conversation_id in conversations.recent_ids(session, owner_id, narrowed(filters, when), POOL):
                hits.setdefault(conversation_id, _Hit(conversation_id, "date", DATE_SCORE))
        if len(hits) < ENOUGH and not (query.phrases or query.excluded):
            for near in _near_titles(session, owner_id, query, filters):
                hits[near.conversation_id] = max(near, hits.get(near.conversation_id, near), key=lambda hit: hit.score)
        page = _page(session, owner_id, list(hits.values()), sort, slice(offset, offset + limit))
        shown = _shown(session, owner_id, page, asked_words(query))
    return {
        "results": shown,
        "total": len(hits),
        "limit": limit,
        "offset": offset,
        "period": {"since": when.since.isoformat(), "until": when.until.isoformat()} if when else None,
        "degraded": found.degraded,
    }


def _by_name(session: Session, owner_id: str, text: str, query: Query, filters: Filters) -> dict[str, _Hit]:
    """Whose address was typed, then whose title holds every word; by conversation id, in that order."""
    typed = text.split()
    addressed = [row.id for url in _URL.findall(text) for row in conversations.with_url(session, owner_id, url)]
    kept = conversations.titles(session, owner_id, addressed, filters)
    hits = {id: _Hit(id, "url", 1.0) for id in addressed if id in kept}
    if typed and not query.excluded:
        for row in conversations.match_titles(session, owner_id, typed, POOL, filters):
            hits.setdefault(row.id, _Hit(row.id, "title", 1.0))
    return hits


def _by_passage(
    session: Session, owner_id: str, found: Found, filters: Filters, when: Period | None, named: Mapping[str, _Hit]
) -> dict[str, _Hit]:
    """What was said, and where in the conversations that were found by their names."""
    ids = {one.conversation_id for one in found.passages}
    titles = {
        id: found.asked.intersection(words(title))
        for id, title in conversations.titles(session, owner_id, ids, filters).items()
    }
    then = None if when is None else conversations.titles(session, owner_id, titles, narrowed(filters, when)).keys()
    passages = [one for one in found.passages if one.conversation_id in titles]
    hits = {}
    for one in rank_conversations(passages, titles, found.rarity, get_settings().search_min_score, then):
        name = named.get(one.conversation_id)
        why, score = (name.why, name.score) if name else (one.why, one.score)
        hits[one.conversation_id] = _Hit(one.conversation_id, why, score, one.chunk_id)
    return hits


def _near_titles(session: Session, owner_id: str, query: Query, filters: Filters) -> list[_Hit]:
    near = fulltext.near_titles(session, owner_id, query.text, POOL)
    kept = conversations.titles(session, owner_id, [id for id, _ in near], filters)
    return [_Hit(id, "title", NEAR_TITLE_WEIGHT * share) for id, share in near if id in kept]


def _page(
    session: Session, owner_id: str, hits: list[_Hit], sort: tuple[str, str], page: slice
) -> list[tuple[_Hit, Outline]]:
    """Hits in the order that is wanted. Only an order that is not ours needs the rows of those on other pages."""
    by, direction = sort
    if by == "relevance":
        named = [hit for hit in hits if hit.score == 1.0 and hit.why in ("url", "title")]
        rest = [hit for hit in hits if not (hit.score == 1.0 and hit.why in ("url", "title"))]
        rest.sort(key=lambda hit: -hit.score)
        hits = (named + rest)[:: 1 if direction == "desc" else -1][page]
    rows = {
        row.id: row
        for row in conversations.outlines(session, owner_id, [hit.conversation_id for hit in hits], NO_FILTERS)
    }
    listed = [(hit, rows[hit.conversation_id]) for hit in hits if hit.conversation_id in rows]
    if by == "relevance":
        return listed

    def key(pair: tuple[_Hit, Outline]) -> tuple[Any, str]:
        row = pair[1]
        return row.title.casefold() if by == "title" else getattr(row, by), row.id

    return sorted(listed, key=key, reverse=direction == "desc")[page]


def _shown(
    session: Session, owner_id: str, page: Sequence[tuple[_Hit, Outline]], asked: Sequence[str]
) -> list[dict[str, Any]]:
    found = chunks.load(session, owner_id, [hit.chunk_id for hit, _ in page if hit.chunk_id is not None])
    return [_json(hit, row, found.get(hit.chunk_id or ""), asked) for hit, row in page]


def _json(hit: _Hit, row: Outline, passage: FoundChunk | None, asked: Sequence[str]) -> dict[str, Any]:
    return {
        "conversation_id": row.id,
        "title": row.title,
        "source": row.source,
        "url": row.url,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        "why": hit.why,
        "score": round(hit.score, 4),
        "message_id": passage.message_id if passage else None,
        "file_id": passage.file_id if passage else None,
        "filename": passage.filename if passage else None,
        "role": passage.role if passage else None,
        **(excerpt(passage.chunk.text, asked) if passage else {"snippet": None, "highlights": []}),
    }
