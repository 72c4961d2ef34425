"""Passages that may answer a query: looked for by their words and by their meaning at the same time."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from config.errors import ModelUnavailable, Unavailable
from config.logging import log
from storage import chunks, conversations, fulltext, indexes
from storage.database import reading
from storage.filters import NO_FILTERS, Filters
from storage.vectors import VectorIndex
from storage.words import Query, words
from tasks.dates import Period
from tasks.leases import get_leases
from tasks.ranking import Evidence, Rarity
from workers import registry

# A conversation longer than this may still crowd the others out of its own questions; each one slows the index down.
MOST_DROPPED = 1000
# The vector index filters by a list of conversations up to this long; beyond it, much of what it finds is right anyway.
MOST_WITHIN = 500
# So many vectors of all owners are looked through for those of one before the index is asked for theirs alone.
MOST_OF_ALL = 2000
# A search by meaning that takes longer is given up, and the words answer alone.
MEANING_S = 5.0

_pool = ThreadPoolExecutor(16, thread_name_prefix="meaning")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`not_in`: a conversation to leave out; `period`: when it was said, as the query has it."""

    owner_id: str
    query: Query
    filters: Filters = NO_FILTERS
    not_in: str | None = None
    period: Period | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """`asked`: the words of the query; `degraded`: why the search by meaning is missing, in a sentence."""

    passages: list[Evidence] = field(default_factory=list)
    asked: frozenset[str] = frozenset()
    rarity: Rarity = field(default_factory=lambda: Rarity({}, 0))
    index: str = ""
    degraded: str | None = None


class Pending:
    """A search that goes on: by meaning in a thread of its own, by words in that of who asks for the result."""

    def __init__(self, wanted: Wanted, pool: int) -> None:
        """About `pool` passages are wanted from each side."""
        self._wanted = wanted
        with reading() as session:
            self._index = indexes.serving(session, wanted.owner_id)
            if self._index is None:
                return
            # What is left out is fetched and dropped: the vector index finds next to nothing where most is filtered
            # out. The files of the one that asks stay in: no prompt holds them.
            asking = wanted.not_in
            self._dropped = chunks.ids_of(session, asking, self._index, said_only=True) if asking is not None else set()
        self._limit = pool + min(len(self._dropped), MOST_DROPPED)
        self._meaning = _pool.submit(_near, wanted, self._index, self._limit)

    def result(self) -> Found:
        """In no order."""
        if self._index is None:
            return Found()
        matches, rarity, asked = self._by_words(self._index)
        near, degraded = _awaited(self._meaning)
        passages = {
            match.chunk_id: Evidence(match.chunk_id, match.conversation_id, words=match.words, title=match.title)
            for match in matches
            if match.chunk_id not in self._dropped
        }
        demanded = _demanded(self._wanted.query, [one.chunk_id for one in near if one.chunk_id not in passages])
        for one in near:
            if (match := passages.get(one.chunk_id)) is not None:
                passages[one.chunk_id] = match._replace(cosine=one.cosine)
            elif one.chunk_id in demanded and one.chunk_id not in self._dropped:
                passages[one.chunk_id] = one
        return Found(list(passages.values()), asked, rarity, self._index, degraded)

    def _by_words(self, index: str) -> tuple[list[fulltext.Match], Rarity, frozenset[str]]:
        wanted = self._wanted
        with reading() as session:
            frequencies = fulltext.frequencies(session, asked_words(wanted.query))
            rarity = Rarity(frequencies, fulltext.size(session))
            matches = [
                match
                for filters in _times(wanted)
                for match in fulltext.search(
                    session,
                    wanted.owner_id,
                    index,
                    wanted.query,
                    self._limit,
                    filters,
                    frequencies=frequencies,
                    weights=rarity.shares,
                )
            ]
        return matches, rarity, frozenset(frequencies)


def narrowed(filters: Filters, period: Period) -> Filters:
    """To conversations that were going on then."""
    since = period.since if filters.since is None else max(period.since, filters.since)
    return replace(filters, since=since, begun_before=period.until)


def asked_words(query: Query) -> list[str]:
    return list(dict.fromkeys((*query.terms, *(word for phrase in query.phrases for word in phrase))))


def _times(wanted: Wanted) -> list[Filters]:
    """Everything, and once more what was said in the period that the query names."""
    return [wanted.filters, *([narrowed(wanted.filters, wanted.period)] if wanted.period else [])]


# --- by meaning -------------------------------------------------------------------------------------------------------


def _awaited(meaning: Future[list[Evidence]]) -> tuple[list[Evidence], str | None]:
    try:
        return meaning.result(MEANING_S), None
    except TooLate:
        meaning.cancel()
        why = "The vector index takes too long."
    except (Unavailable, ModelUnavailable) as error:
        why = error.detail
    log.warning("searched by words only", reason=why)
    return [], f"Found by words and titles only: {why[0].lower()}{why[1:]}"


def _near(wanted: Wanted, index: str, limit: int) -> list[Evidence]:
    """What lies nearest to the query's meaning. Raises Unavailable and ModelUnavailable."""
    if not wanted.query.text.strip():
        return []
    if get_leases().me.models.get("embedding", {}).get("state") == "loading":
        raise ModelUnavailable("The embedding model is still being loaded.")
    vector = _vector(indexes.model_of(index), wanted.query.text)
    vectors, found = VectorIndex(index), dict[str, Evidence]()
    for filters in _times(wanted):
        within = None
        if not filters.is_empty:
            with reading() as session:
                within = conversations.filtered_ids(session, wanted.owner_id, filters, MOST_WITHIN + 1)
        if within is None or len(within) > MOST_WITHIN:
            near = _of_owner(vectors, wanted.owner_id, vector, limit)
        elif within:
            near = _placed(wanted.owner_id, vectors.query(vector, limit, within=within))
        else:
            near = []
        found.update((one.chunk_id, one) for one in near)
    return list(found.values())


@functools.lru_cache(maxsize=512)
def _vector(model: str, text: str) -> NDArray[np.float32]:
    """A query is often asked again: its next page, other filters, the same chat."""
    embedder = registry.embedder_named(model)
    if embedder is None:
        raise ModelUnavailable("The embedding model of this index is not on this machine.")
    vector = embedder.embed([text], urgent=True)[0]
    vector.setflags(write=False)
    return vector


def _of_owner(vectors: VectorIndex, owner_id: str, vector: NDArray[np.float32], limit: int) -> list[Evidence]:
    """The nearest of this owner's vectors. Most often nearly all vectors are theirs, and looking through the nearest of
    all owners' is quick; where few are theirs, asking for those alone is."""
    looked_at = limit
    while looked_at <= MOST_OF_ALL:
        nearest = vectors.query(vector, looked_at)
        own = _placed(owner_id, nearest)
        if len(own) > limit // 2 or len(nearest) < looked_at:
            return own[:limit]
        looked_at = max(2 * looked_at, min(limit * looked_at // max(1, len(own)), 10 * looked_at))
    return _placed(owner_id, vectors.query(vector, limit, owner_id=owner_id))


def _placed(owner_id: str, nearest: Sequence[tuple[str, float]]) -> list[Evidence]:
    """With their conversations, and without those of others or of nobody any more."""
    with reading() as session:
        places = chunks.places(session, owner_id, [chunk_id for chunk_id, _ in nearest])
    return [
        Evidence(chunk_id, place.conversation_id, cosine, title=place.title)
        for chunk_id, cosine in nearest
        if (place := places.get(chunk_id)) is not None
    ]


# --- what is demanded -------------------------------------------------------------------------------------------------


def _demanded(query: Query, chunk_ids: Sequence[str]) -> set[str]:
    """Those of these, found by their meaning, that have what is demanded and nothing that is excluded."""
    if not query.phrases and not query.excluded:
        return set(chunk_ids)
    with reading() as session:
        texts = chunks.texts(session, chunk_ids)
    lines = {chunk_id: f" {' '.join(words(text))} " for chunk_id, text in texts.items()}
    return {
        chunk_id
        for chunk_id, line in lines.items()
        if all(f" {' '.join(phrase)} " in line for phrase in query.phrases)
        and not any(f" {' '.join(phrase)} " in line for phrase in query.excluded)
    }
