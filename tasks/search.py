"""Search: a question to the index worker, whose model stays loaded; no row, no trace.

address ─▶ title ─▶ passages by their words and by their meaning (`tasks.passages`), weighed in `tasks.ranking`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from config.settings import get_settings
from storage import chunks, conversations, enquiries
from storage.database import Session, reading
from storage.filters import NO_FILTERS, Filters
from storage.titles import near_titles
from storage.words import Query, parse, words
from tasks.dates import Period, period
from tasks.enquiries import answers_to
from tasks.hits import Hit, by_relevance, page_of, reranked, shown
from tasks.passages import Found, Pending, Wanted, asked_words, narrowed
from tasks.ranking import rank, rank_conversations, reordered
from tasks.reranking import rerank_scores
from workers.ports import Passage

SEARCH = "search.query"
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


@answers_to(SEARCH)
def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Answer one search: {mode: search|passages, owner_id, text, limit, offset?, filters?, sort?, not_in?}."""
    if asked["mode"] == "passages":
        return asdict(look_up(Retrieval(asked["owner_id"], asked["text"], asked["limit"], asked.get("not_in"))))
    return find_conversations(
        asked["owner_id"],
        asked["text"],
        asked["limit"],
        asked["offset"],
        filters_from(asked.get("filters") or {}),
        asked.get("sort") or ("relevance", "desc"),
    )


def filters_from(given: Mapping[str, Any]) -> Filters:
    """Filters as they come over the queue: times are ISO 8601."""
    times = {name: datetime.fromisoformat(given[name]) for name in ("since", "until") if given.get(name)}
    return Filters(**{**given, **times})


def retrieve(question: Retrieval, timeout_s: float) -> list[Passage]:
    """Passages for a prompt, by way of the index worker. Raises Unavailable."""
    found = enquiries.ask(SEARCH, {"mode": "passages", **asdict(question)}, timeout_s)
    return [Passage(**passage) for passage in found["passages"]]


# --- passages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Retrieved:
    """`degraded`: what is missing of the search, in a sentence."""

    passages: list[Passage]
    degraded: str | None = None


def find_passages(question: Retrieval) -> list[Passage]:
    return look_up(question).passages


def look_up(question: Retrieval) -> Retrieved:
    """The best chunks, each once. A question that was found stands for the answer it got: that can be quoted."""
    # A question to a model is prose: its quotes and dashes demand nothing.
    asked = Query(question.text, parse(re.sub(r'["\-]', " ", question.text)).terms)
    wanted = Wanted(question.owner_id, asked, not_in=question.not_in)
    found = Pending(wanted, max(MIN_POOL, MORE_PASSAGES * question.limit)).result()
    ranked = rank(found.passages, found.rarity, get_settings().search_min_score)[: MORE_PASSAGES * question.limit]
    chunk_ids = [one.chunk_id for one in ranked if one.chunk_id is not None]
    with reading() as session:
        rows = chunks.load(session, question.owner_id, chunk_ids)
        said = [row.about for row in rows.values() if row.role == "user"]
        answers = chunks.replies(session, said, found.index) if said else {}
    passages: dict[str, Passage] = {}
    for one in ranked:
        row = rows.get(one.chunk_id or "")
        if row is None:
            continue
        reply = answers.get(row.about)
        chunk, message_id = (reply, reply.message_id) if reply else (row, row.message_id)
        title = row.conversation_title
        names = {"message": title, "file": f"{row.filename} ({title})", "draft": f"Project draft: {row.draft}"}
        passages.setdefault(chunk.id, Passage(chunk.text, row.conversation_id, names[row.kind], message_id, one.score))
    listed, late = _passages_reranked(question.text, list(passages.values()))
    return Retrieved(listed[: question.limit], joined(found.degraded, late))


def _passages_reranked(asked: str, passages: list[Passage]) -> tuple[list[Passage], str | None]:
    best = range(min(len(passages), get_settings().rerank_best))
    scores, late = rerank_scores(asked, [passages[place].text for place in best])
    listed = list(passages)
    for place, source in reordered(scores, best).items() if scores else ():
        listed[place] = replace(passages[source], score=passages[place].score)
    return listed, late


def joined(*sentences: str | None) -> str | None:
    return " ".join(filter(None, sentences)) or None


# --- conversations ----------------------------------------------------------------------------------------------------


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
    pending = Pending(Wanted(owner_id, query, filters, period=when), POOL)
    with reading() as session:
        hits = _by_name(session, owner_id, text, query, filters)
    found = pending.result()
    with reading() as session:
        hits |= _by_passage(session, owner_id, found, filters, when, hits)
        if when is not None and query.is_empty:
            for conversation_id in conversations.recent_ids(session, owner_id, narrowed(filters, when), POOL):
                hits.setdefault(conversation_id, Hit(conversation_id, "date", DATE_SCORE))
        if len(hits) < ENOUGH and not (query.phrases or query.excluded):
            for near in _near_titles(session, owner_id, query, filters):
                hits[near.conversation_id] = max(near, hits.get(near.conversation_id, near), key=lambda hit: hit.score)
    listed, late = by_relevance(hits.values()), None
    if sort[0] == "relevance" and (offset < get_settings().rerank_best or sort[1] == "asc"):
        listed, late = reranked(query.text, listed)
    with reading() as session:
        page = page_of(session, owner_id, listed, sort, slice(offset, offset + limit))
        results = shown(session, owner_id, page, asked_words(query))
    return {
        "results": results,
        "total": len(hits),
        "limit": limit,
        "offset": offset,
        "period": {"since": when.since.isoformat(), "until": when.until.isoformat()} if when else None,
        "degraded": joined(found.degraded, late),
    }


def _by_name(session: Session, owner_id: str, text: str, query: Query, filters: Filters) -> dict[str, Hit]:
    """Whose address was typed, then whose title holds every word; by conversation id, in that order."""
    typed = text.split()
    addressed = [row.id for url in _URL.findall(text) for row in conversations.with_url(session, owner_id, url)]
    kept = conversations.titles(session, owner_id, addressed, filters)
    hits = {id: Hit(id, "url", 1.0) for id in addressed if id in kept}
    if typed and not query.excluded:
        for row in conversations.match_titles(session, owner_id, typed, POOL, filters):
            hits.setdefault(row.id, Hit(row.id, "title", 1.0))
    return hits


def _by_passage(
    session: Session, owner_id: str, found: Found, filters: Filters, when: Period | None, named: Mapping[str, Hit]
) -> dict[str, Hit]:
    """What was said, and where in the conversations that were found by their names."""
    titles = {one.conversation_id: one.title for one in found.passages}
    if not filters.is_empty:  # the vector index knows of no filters
        titles = conversations.titles(session, owner_id, titles, filters)
    asked = {id: found.asked.intersection(words(title)) for id, title in titles.items()}
    then = None if when is None else conversations.titles(session, owner_id, titles, narrowed(filters, when)).keys()
    passages = [one for one in found.passages if one.conversation_id in titles]
    hits = {}
    for one in rank_conversations(passages, asked, found.rarity, get_settings().search_min_score, then):
        name = named.get(one.conversation_id)
        why, score = (name.why, name.score) if name else (one.why, one.score)
        of_then = then is None or one.conversation_id in then
        hits[one.conversation_id] = Hit(one.conversation_id, why, score, one.chunk_id, of_then)
    return hits


def _near_titles(session: Session, owner_id: str, query: Query, filters: Filters) -> list[Hit]:
    near = near_titles(session, owner_id, query.text, POOL)
    kept = conversations.titles(session, owner_id, [id for id, _ in near], filters)
    return [Hit(id, "title", NEAR_TITLE_WEIGHT * share) for id, share in near if id in kept]
