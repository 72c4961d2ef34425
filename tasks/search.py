"""Search: a question to the index worker, whose model stays loaded; no row, no trace.

address ─▶ title ─▶ passages by their words and by their meaning, weighed in `tasks.ranking`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from config.celery import celery_app
from config.errors import BackchannelError, Unavailable
from config.logging import log
from config.queues import SEARCH_QUEUE
from config.settings import get_settings
from storage import chunks, conversations, fulltext, indexes, queue
from storage.chunks import FoundChunk
from storage.database import reading
from storage.filters import NO_FILTERS, Filters
from storage.tables import Conversation
from storage.vectors import VectorIndex
from storage.words import Query, parse, words
from tasks.ranking import Ranked, Rarity, rank
from workers import registry
from workers.ports import Passage

SEARCH_TASK = "search.query"
SNIPPET_CHARS = 320
# Passages looked at for one search: the same for each of its pages, so that no hit moves from one page to another.
POOL = 200
MIN_POOL = 40  # for a prompt, which wants a few passages of several conversations
# A conversation longer than this may still crowd the others out of its own questions; each one slows the index down.
MOST_DROPPED = 1000
# The vector index filters by a list of conversations up to this long; beyond it, much of what it finds is right anyway.
MOST_WITHIN = 500
# A mistyped title is worth this much of its likeness.
NEAR_TITLE_WEIGHT = 0.6

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


@dataclass(frozen=True, slots=True)
class _Wanted:
    owner_id: str
    query: Query
    filters: Filters = NO_FILTERS
    not_in: str | None = None


def _passages(wanted: _Wanted, pool: int) -> list[tuple[FoundChunk, Ranked]]:
    """Chunks above the noise, the surest first."""
    query = wanted.query
    with reading() as session:
        index = indexes.serving(session, wanted.owner_id)
        if index is None:
            return []
        # What is left out is fetched and dropped: the vector index finds next to nothing where most is filtered out.
        dropped = chunks.ids_of(session, wanted.not_in, index) if wanted.not_in is not None else set()
        frequencies = fulltext.frequencies(session, _asked_words(query))
        rarity = Rarity(frequencies, fulltext.size(session))
        more = min(len(dropped), MOST_DROPPED)
        by_words = fulltext.search(session, wanted.owner_id, index, query, pool + more, wanted.filters)
    matched = {chunk_id: held & frequencies.keys() for chunk_id, held in by_words if chunk_id not in dropped}
    cosines = _near(wanted, index, pool + more, dropped)
    ranked = rank(cosines, matched, rarity, get_settings().search_min_score)
    with reading() as session:
        rows = chunks.load(session, wanted.owner_id, [one.chunk_id for one in ranked])
        shown = conversations.load(
            session, wanted.owner_id, {row.conversation.id for row in rows.values()}, wanted.filters
        )
    allowed = _demands(query)
    return [
        (rows[one.chunk_id], one)
        for one in ranked
        if one.chunk_id in rows
        and rows[one.chunk_id].conversation.id in shown
        and (one.chunk_id in matched or allowed(rows[one.chunk_id].chunk.text))
    ]


def _near(wanted: _Wanted, index: str, limit: int, dropped: set[str]) -> dict[str, float]:
    """Chunk id → cosine, of what lies nearest to the query's meaning."""
    if not wanted.query.text.strip():
        return {}
    within = None
    if not wanted.filters.is_empty:
        with reading() as session:
            ids = conversations.filtered_ids(session, wanted.owner_id, wanted.filters, MOST_WITHIN + 1)
        if not ids:
            return {}
        within = ids if len(ids) <= MOST_WITHIN else None
    embedder = registry.embedder_named(indexes.model_of(index))
    if embedder is None:  # another model is configured now, and its index is not built yet
        return {}
    vector = embedder.embed([wanted.query.text], urgent=True)[0]
    found = VectorIndex(index).query(vector, wanted.owner_id, limit, within=within)
    return {chunk_id: cosine for chunk_id, cosine in found if chunk_id not in dropped}


def _asked_words(query: Query) -> list[str]:
    return list(dict.fromkeys((*query.terms, *(word for phrase in query.phrases for word in phrase))))


def _demands(query: Query) -> Callable[[str], bool]:
    """Whether a text that was found by its meaning has what is demanded and nothing that is excluded."""
    if not query.phrases and not query.excluded:
        return lambda _text: True

    def holds(text: str) -> bool:
        line = f" {' '.join(words(text))} "
        return all(f" {' '.join(phrase)} " in line for phrase in query.phrases) and not any(
            f" {' '.join(phrase)} " in line for phrase in query.excluded
        )

    return holds


def find_passages(question: Retrieval) -> list[Passage]:
    """The best chunks, each once. A question that was found stands for the answer it got: that can be quoted."""
    # A question to a model is prose: its quotes and dashes demand nothing.
    asked = Query(question.text, parse(re.sub(r'["\-]', " ", question.text)).terms)
    wanted = _Wanted(question.owner_id, asked, not_in=question.not_in)
    near = _passages(wanted, max(MIN_POOL, 5 * question.limit))
    with reading() as session:
        questions = [found.chunk.message_id for found, _ in near if found.role == "user"]
        answers = chunks.replies(session, questions, near[0][0].chunk.embedding_model) if questions else {}
    passages: dict[str, Passage] = {}
    for found, ranked in near:
        chunk = answers.get(found.chunk.message_id, found.chunk)
        about = found.conversation
        passages.setdefault(chunk.id, Passage(chunk.text, about.id, about.title, chunk.message_id, ranked.score))
    return list(passages.values())[: question.limit]


# --- conversations ----------------------------------------------------------------------------------------------------


def find_conversations(
    owner_id: str,
    text: str,
    limit: int,
    offset: int,
    filters: Filters = NO_FILTERS,
    sort: tuple[str, str] = ("relevance", "desc"),
) -> dict[str, Any]:
    """By address, by title, then by the best passage; each conversation once. `sort`: (relevance|updated_at|created_at|
    title, asc|desc)."""
    query = parse(text)
    hits = _by_name(owner_id, text, query, filters)
    for found, ranked in _passages(_Wanted(owner_id, query, filters), POOL):
        hit = hits.get(found.conversation.id)
        if hit is None:
            hit = hits[found.conversation.id] = _hit(found.conversation, ranked.why, ranked.score)
        if hit["message_id"] is None:
            hit |= {"message_id": found.chunk.message_id, "role": found.role, **_excerpt(found.chunk.text, query)}
    for conversation_id, (row, share) in _near_titles(owner_id, query, filters).items():
        hits.setdefault(conversation_id, _hit(row, "title", NEAR_TITLE_WEIGHT * share))
    listed = _sorted(list(hits.values()), sort)
    shown = [{name: value for name, value in hit.items() if name != "row"} for hit in listed[offset : offset + limit]]
    return {"results": shown, "total": len(listed), "limit": limit, "offset": offset}


def _by_name(owner_id: str, text: str, query: Query, filters: Filters) -> dict[str, dict[str, Any]]:
    """Whose address was typed, then whose title holds every word; by conversation id, in that order."""
    typed = text.split()
    with reading() as session:
        addressed = [row for url in _URL.findall(text) for row in conversations.with_url(session, owner_id, url)]
        titled = [] if query.excluded else conversations.match_titles(session, owner_id, typed, POOL, filters)
        kept = conversations.load(session, owner_id, [row.id for row in addressed], filters)
    hits = {row.id: _hit(row, "url", 1.0) for row in addressed if row.id in kept}
    for row in titled if typed else []:
        hits.setdefault(row.id, _hit(row, "title", 1.0))
    return hits


def _near_titles(owner_id: str, query: Query, filters: Filters) -> dict[str, tuple[Conversation, float]]:
    if query.phrases or query.excluded:
        return {}
    with reading() as session:
        near = dict(fulltext.near_titles(session, owner_id, query.text, POOL))
        rows = conversations.load(session, owner_id, near, filters)
    return {
        conversation_id: (rows[conversation_id], near[conversation_id])
        for conversation_id in near
        if conversation_id in rows
    }


def _hit(row: Conversation, why: str, score: float) -> dict[str, Any]:
    return {
        "row": row,
        "conversation_id": row.id,
        "title": row.title,
        "source": row.source,
        "url": row.url,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        "why": why,
        "score": round(score, 4),
        "message_id": None,
        "role": None,
        "snippet": None,
        "highlights": [],
    }


def _sorted(hits: list[dict[str, Any]], sort: tuple[str, str]) -> list[dict[str, Any]]:
    by, direction = sort
    if by == "relevance":
        first = {"url": 0, "title": 1}
        named = [hit for hit in hits if hit["score"] == 1.0 and hit["why"] in first]
        rest = sorted((hit for hit in hits if hit not in named), key=lambda hit: -hit["score"])
        return (named + rest)[:: 1 if direction == "desc" else -1]
    key = (lambda hit: hit["row"].title.casefold()) if by == "title" else (lambda hit: getattr(hit["row"], by))
    return sorted(hits, key=key, reverse=direction == "desc")


# --- what is shown of a passage ---------------------------------------------------------------------------------------


def _excerpt(text: str, query: Query) -> dict[str, Any]:
    cut = snippet(text, _asked_words(query))
    return {"snippet": cut, "highlights": highlights(cut, _asked_words(query))}


def snippet(text: str, asked: list[str]) -> str:
    """About SNIPPET_CHARS around the first word of the query that occurs, else the beginning."""
    found = [match.start() for word in asked if (match := re.search(rf"\b{re.escape(word)}", text, re.IGNORECASE))]
    middle = min(found, default=0)
    start = max(0, min(middle - SNIPPET_CHARS // 3, len(text) - SNIPPET_CHARS))
    cut = text[start : start + SNIPPET_CHARS].strip()
    return f"{'…' if start else ''}{cut}{'…' if start + SNIPPET_CHARS < len(text) else ''}"


def highlights(text: str, asked: list[str]) -> list[tuple[int, int]]:
    """Where the query's words stand in a snippet: [start, end) in characters, in order. Marking is left to whoever
    shows it: text from anywhere never becomes markup here."""
    wanted = set(asked)
    return [match.span() for match in re.finditer(r"[^\W_]+", text) if wanted.intersection(words(match.group()))]
