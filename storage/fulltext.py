"""The full-text index of chunks: FTS5 on SQLite, tsvector on PostgreSQL.

Its tables are made of statements here, not of classes: each database has its own. What is indexed are the words of
`storage.words`, so both databases find the same. Rows go with their chunk by themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from sqlalchemy import (
    DDL,
    ColumnElement,
    Select,
    Table,
    TextClause,
    and_,
    bindparam,
    column,
    event,
    func,
    select,
    table,
    text,
)
from sqlmodel import Session

from storage.filters import NO_FILTERS, Filters
from storage.tables import Chunk, Conversation
from storage.words import Phrase, Query, holder, words

_SQLITE = (
    "CREATE TABLE chunk_key (number INTEGER PRIMARY KEY, "
    "chunk_id TEXT NOT NULL UNIQUE REFERENCES chunk (id) ON DELETE CASCADE)",
    "CREATE VIRTUAL TABLE chunk_words USING fts5 (words, tokenize = 'unicode61 remove_diacritics 0')",
    "CREATE TRIGGER chunk_key_gone AFTER DELETE ON chunk_key "
    "BEGIN DELETE FROM chunk_words WHERE rowid = old.number; END",
)
_POSTGRESQL = (
    "CREATE TABLE chunk_words (chunk_id VARCHAR(64) PRIMARY KEY REFERENCES chunk (id) ON DELETE CASCADE, "
    "words TSVECTOR NOT NULL)",
    "CREATE INDEX ix_chunk_words ON chunk_words USING gin (words)",
)
# For those who compare the database with the classes: these are not forgotten, they are ours.
NAMES = ("chunk_key", "chunk_words", "ix_chunk_words")

_chunks: Table = Chunk.__table__  # type: ignore[attr-defined]
_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]
_words = table("chunk_words", column("rowid"), column("chunk_id"), column("words"))
_key = table("chunk_key", column("number"), column("chunk_id"))

# Beyond this many chunks a word is common; how common makes no difference.
COMMON = 5000
# The newest so many of the chunks that hold one word or what is demanded.
MOST_LISTED = 4 * COMMON
COUNTED_TOGETHER = 64  # words in one statement; SQLite takes 500
# How many times as many as wanted are looked at of all owners' best; then all of them.
WIDER = (1, 8, 64)


def when_made(made: Table, **statements: Sequence[str]) -> None:
    """Run these, by the database's dialect, behind those that make the table."""
    for dialect, theirs in statements.items():
        for statement in theirs:
            also = DDL(statement)  # type: ignore[no-untyped-call]
            event.listen(made, "after_create", also.execute_if(dialect=dialect))


when_made(_chunks, sqlite=_SQLITE, postgresql=_POSTGRESQL)


# --- writing ----------------------------------------------------------------------------------------------------------


def add(session: Session, rows: Iterable[dict[str, Any]]) -> None:
    """Index chunks that were just inserted: {id, text, …}."""
    listed = [{"id": row["id"], "words": " ".join(words(row["text"]))} for row in rows]
    if not listed:
        return
    if is_sqlite(session):
        session.execute(text("INSERT INTO chunk_key (chunk_id) VALUES (:id)"), listed)
        statement = "INSERT INTO chunk_words (rowid, words) SELECT number, :words FROM chunk_key WHERE chunk_id = :id"
    else:
        statement = "INSERT INTO chunk_words (chunk_id, words) VALUES (:id, to_tsvector('simple', :words))"
    session.execute(text(statement), listed)


# --- asking -----------------------------------------------------------------------------------------------------------


def frequencies(session: Session, terms: Sequence[str]) -> dict[str, int]:
    """In how many chunks each term occurs, at most COMMON; of all owners, which tells rare from common well enough."""
    asked = quoted if is_sqlite(session) else _lexeme
    found = dict[str, int]()
    for start in range(0, len(terms), COUNTED_TOGETHER):
        some = terms[start : start + COUNTED_TOGETHER]
        values = {f"term{place}": asked(term) for place, term in enumerate(some)}
        counts = session.execute(_counting(len(some), is_sqlite(session)), values | {"most": COMMON}).one()
        found.update(zip(some, counts, strict=True))
    return found


@functools.cache
def _counting(count: int, sqlite: bool) -> TextClause:
    """One row of so many counts."""
    holding = "chunk_words MATCH :term{0}" if sqlite else "words @@ to_tsquery('simple', :term{0})"
    counted = f"(SELECT count(*) FROM (SELECT 1 FROM chunk_words WHERE {holding} LIMIT :most) AS held{{0}})"  # noqa: S608
    return text("SELECT " + ", ".join(counted.format(place) for place in range(count)))


def size(session: Session) -> int:
    """About how many chunks are indexed, without counting them."""
    query = (
        "SELECT coalesce(max(number), 0) FROM chunk_key"
        if is_sqlite(session)
        else "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'chunk_words'::regclass"
    )
    return int(session.execute(text(query)).scalar() or 0)


class Match(NamedTuple):
    """`words`: those of the query that it holds."""

    chunk_id: str
    conversation_id: str
    title: str  # of the conversation
    words: frozenset[str]


def search(
    session: Session,
    owner_id: str,
    index: str,
    query: Query,
    limit: int,
    filters: Filters = NO_FILTERS,
    *,
    frequencies: Mapping[str, int] | None = None,
    weights: Mapping[str, float] | None = None,
) -> list[Match]:
    """This owner's chunks that hold any of the terms and what is demanded, the best first. `index`: as
    `storage.indexes` names it; `frequencies` of the terms, to leave out those that would make it slow; `weights`: how
    much each of them says, all the same where it is not told."""
    if query.is_empty:
        return []
    asked = _selective(query, frequencies or {})
    wanted = frozenset((*query.terms, *(word for phrase in query.phrases for word in phrase)))
    whose = {"owner": owner_id, "index": index}
    if not is_sqlite(session):
        return _search_postgres(session, asked, filters, whose, limit, wanted)
    numbers, found = _best_of_all(session, asked, weights or {}), list[Match]()
    for most in (*(limit * times for times in WIDER), len(numbers)):
        found = _those_of(session, numbers[:most], filters, whose, wanted)
        if len(found) > limit // 2 or most >= len(numbers):
            break
    return found[:limit]


def _selective(query: Query, frequencies: Mapping[str, int]) -> _Asked:
    """The rarest terms, as many as occur in COMMON chunks together; where all are more common than that, only chunks
    that hold every one of them."""
    by_rarity = sorted(query.terms, key=lambda term: frequencies.get(term, 0))
    if by_rarity and not query.phrases and frequencies.get(by_rarity[0], 0) >= COMMON:
        return _Asked(query, tuple(by_rarity), every=True)
    kept: list[str] = []
    held = 0
    for term in by_rarity:
        held += frequencies.get(term, 0)
        if kept and held > COMMON:
            break
        kept.append(term)
    return _Asked(query, tuple(kept), every=False)


def _best_of_all(session: Session, asked: _Asked, weights: Mapping[str, float]) -> list[int]:
    """Numbers of the chunks of all owners and indexes that match, those first whose terms weigh most together, then the
    newest. Lists of numbers, put together here: BM25 looks every chunk up by itself, which takes ten times as long."""
    parts = asked.parts()
    values = {f"asked{place}": expression for place, (_, expression) in enumerate(parts)}
    lists = session.execute(_listing(len(parts)), values | {"most": MOST_LISTED}).one()
    held = [np.array(orjson.loads(numbers), dtype=np.int64) for numbers in lists]
    weighed = [
        np.full(len(of), weights.get(term, 1.0) if term else 0.0) for (term, _), of in zip(parts, held, strict=True)
    ]
    numbers, places = np.unique(np.concatenate(held), return_inverse=True)
    order = np.lexsort((-numbers, -np.bincount(places, np.concatenate(weighed), len(numbers))))
    best: list[int] = numbers[order].tolist()
    return best


@functools.cache
def _listing(count: int) -> TextClause:
    """One row of so many lists."""
    listed = (
        "(SELECT json_group_array(rowid) FROM (SELECT rowid FROM chunk_words WHERE chunk_words MATCH :asked{0} "
        "ORDER BY rowid DESC LIMIT :most))"
    )
    return text("SELECT " + ", ".join(listed.format(place) for place in range(count)))


def _those_of(
    session: Session, numbers: Sequence[int], filters: Filters, whose: Mapping[str, str], wanted: frozenset[str]
) -> list[Match]:
    """Those of these that are theirs, in their order."""
    packed = session.execute(_placed(filters), {"numbers": orjson.dumps(numbers).decode(), **whose}).scalar_one()
    rows = {row[0]: row for row in orjson.loads(packed)}
    held = holder(wanted)
    return [Match(row[1], row[2], row[3], held(row[4])) for number in numbers if (row := rows.get(number)) is not None]


@functools.lru_cache(maxsize=64)
def _placed(filters: Filters) -> Select[Any]:
    """Where the chunks of given numbers belong, those that are mine. All rows as one value: SQLite gives the
    interpreter up at each row, and has to wait for it beside other threads. The joins are outer ones and `mine` no
    condition of theirs, or SQLite would begin with all that the owner has."""
    given = func.json_each(bindparam("numbers")).table_valued("value")
    joined = (
        given.outerjoin(_words, _words.c.rowid == given.c.value)
        .outerjoin(_key, _key.c.number == given.c.value)
        .outerjoin(_chunks, _chunks.c.id == _key.c.chunk_id)
        .outerjoin(_conversations, _conversations.c.id == _chunks.c.conversation_id)
    )
    columns = (given.c.value, _chunks.c.id, _chunks.c.conversation_id, _conversations.c.title, _words.c.words)
    packed = func.json_group_array(func.json_array(*columns)).filter(_mine(filters))
    return select(packed).select_from(joined)


def _mine(filters: Filters) -> ColumnElement[bool]:
    theirs = (_conversations.c.owner_id == bindparam("owner"), _chunks.c.embedding_model == bindparam("index"))
    return and_(*theirs, *filters.conditions())


def _search_postgres(
    session: Session, asked: _Asked, filters: Filters, whose: Mapping[str, str], limit: int, wanted: frozenset[str]
) -> list[Match]:
    joined = _words.join(_chunks, _chunks.c.id == _words.c.chunk_id)
    joined = joined.join(_conversations, _conversations.c.id == _chunks.c.conversation_id)
    best = (
        select(_chunks.c.id, _chunks.c.conversation_id, _conversations.c.title, _words.c.words)
        .select_from(joined)
        .where(text("words @@ to_tsquery('simple', :asked)"), _mine(filters))
        .order_by(text("ts_rank(words, to_tsquery('simple', :asked)) DESC"), _chunks.c.id)
        .limit(limit)
        .subquery("best")
    )
    held = func.array_to_string(func.tsvector_to_array(best.c.words), " ")
    query = select(best.c.id, best.c.conversation_id, best.c.title, held)
    found, held_by = session.execute(query, {"asked": asked.tsquery(), **whose}), holder(wanted)
    return [Match(row[0], row[1], row[2], held_by(row[3])) for row in found]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query as a database is asked: `terms` in place of its own, each for itself or every one."""

    query: Query
    terms: tuple[str, ...]
    every: bool

    def parts(self) -> list[tuple[str | None, str]]:
        """What FTS5 is asked for, each part by itself, and the term that it is about."""
        demanded = [_phrase(phrase) for phrase in self.query.phrases]
        if self.every:
            ranking: list[tuple[str | None, list[str]]] = [(None, [*demanded, *map(quoted, self.terms)])]
        else:
            ranking = [(term, [*demanded, quoted(term)]) for term in self.terms]
            ranking += [(None, demanded)] if demanded else []
        return [(term, self._without(" AND ".join(held))) for term, held in ranking]

    def _without(self, expression: str) -> str:
        for phrase in self.query.excluded:
            expression = f"({expression}) NOT {_phrase(phrase)}"
        return expression

    def tsquery(self) -> str:
        demanded = [_lexemes(phrase) for phrase in self.query.phrases]
        ranking = (" & " if self.every else " | ").join([*demanded, *map(_lexeme, self.terms)])
        return " & ".join([*demanded, f"({ranking})", *(f"!{_lexemes(phrase)}" for phrase in self.query.excluded)])


def _phrase(phrase: Phrase) -> str:
    return quoted(" ".join(phrase))


def quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _lexemes(phrase: Phrase) -> str:
    return f"({' <-> '.join(map(_lexeme, phrase))})"


def _lexeme(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"
