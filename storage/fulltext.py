"""The full-text index of chunks and the trigrams of titles: FTS5 on SQLite, tsvector and pg_trgm on PostgreSQL.

Their tables are made of statements here, not of classes: each database has its own. What is indexed are the words of
`storage.words`, so both databases find the same. Rows go with their chunk or conversation by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import DDL, Table, column, event, select, table, text
from sqlmodel import Session

from storage.filters import NO_FILTERS, Filters
from storage.tables import Chunk, Conversation
from storage.words import Phrase, Query, words

_SQLITE_CHUNKS = (
    "CREATE TABLE chunk_key (number INTEGER PRIMARY KEY, "
    "chunk_id TEXT NOT NULL UNIQUE REFERENCES chunk (id) ON DELETE CASCADE)",
    "CREATE VIRTUAL TABLE chunk_words USING fts5 (words, tokenize = 'unicode61 remove_diacritics 0')",
    "CREATE VIRTUAL TABLE chunk_terms USING fts5vocab ('chunk_words', 'row')",
    "CREATE TRIGGER chunk_key_gone AFTER DELETE ON chunk_key "
    "BEGIN DELETE FROM chunk_words WHERE rowid = old.number; END",
)
_SQLITE_TITLES = (
    "CREATE TABLE title_key (number INTEGER PRIMARY KEY, "
    "conversation_id TEXT NOT NULL UNIQUE REFERENCES conversation (id) ON DELETE CASCADE)",
    "CREATE VIRTUAL TABLE title_words USING fts5 (title, tokenize = 'trigram')",
    "CREATE TRIGGER title_new AFTER INSERT ON conversation BEGIN "
    "INSERT INTO title_key (conversation_id) VALUES (new.id); "
    "INSERT INTO title_words (rowid, title) "
    "SELECT number, new.title FROM title_key WHERE conversation_id = new.id; END",
    "CREATE TRIGGER title_changed AFTER UPDATE OF title ON conversation WHEN old.title <> new.title BEGIN "
    "UPDATE title_words SET title = new.title "
    "WHERE rowid = (SELECT number FROM title_key WHERE conversation_id = new.id); END",
    "CREATE TRIGGER title_key_gone AFTER DELETE ON title_key "
    "BEGIN DELETE FROM title_words WHERE rowid = old.number; END",
)
_POSTGRES_CHUNKS = (
    "CREATE TABLE chunk_words (chunk_id VARCHAR(64) PRIMARY KEY REFERENCES chunk (id) ON DELETE CASCADE, "
    "words TSVECTOR NOT NULL)",
    "CREATE INDEX ix_chunk_words ON chunk_words USING gin (words)",
)
_POSTGRES_TITLES = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX ix_conversation_title_trgm ON conversation USING gin (lower(title) gin_trgm_ops)",
)
STATEMENTS = {
    ("sqlite", "chunk"): _SQLITE_CHUNKS,
    ("sqlite", "conversation"): _SQLITE_TITLES,
    ("postgresql", "chunk"): _POSTGRES_CHUNKS,
    ("postgresql", "conversation"): _POSTGRES_TITLES,
}
# For those who compare the database with the classes: these are not forgotten, they are ours.
NAMES = (
    "chunk_key",
    "chunk_words",
    "chunk_terms",
    "title_key",
    "title_words",
    "ix_chunk_words",
    "ix_conversation_title_trgm",
)

_chunks: Table = Chunk.__table__  # type: ignore[attr-defined]
_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]
_words = table("chunk_words", column("rowid"), column("chunk_id"), column("words"))
_key = table("chunk_key", column("number"), column("chunk_id"))

# Beyond this many chunks a word is common; how common makes no difference.
COMMON = 5000
# So many trigrams of the query must a title share to be near it: the half of them.
NEAR_TITLE = 0.5


def _when_made(made: Table) -> None:
    for (dialect, name), statements in STATEMENTS.items():
        if name == made.name:
            for statement in statements:
                also = DDL(statement)  # type: ignore[no-untyped-call]
                event.listen(made, "after_create", also.execute_if(dialect=dialect))


_when_made(_chunks)
_when_made(_conversations)


# --- writing ----------------------------------------------------------------------------------------------------------


def add(session: Session, rows: Iterable[dict[str, Any]]) -> None:
    """Index chunks that were just inserted: {id, text, …}."""
    listed = [{"id": row["id"], "words": " ".join(words(row["text"]))} for row in rows]
    if not listed:
        return
    if _is_sqlite(session):
        session.execute(text("INSERT INTO chunk_key (chunk_id) VALUES (:id)"), listed)
        statement = "INSERT INTO chunk_words (rowid, words) SELECT number, :words FROM chunk_key WHERE chunk_id = :id"
    else:
        statement = "INSERT INTO chunk_words (chunk_id, words) VALUES (:id, to_tsvector('simple', :words))"
    session.execute(text(statement), listed)


# --- asking -----------------------------------------------------------------------------------------------------------


def frequencies(session: Session, terms: Sequence[str]) -> dict[str, int]:
    """In how many chunks each term occurs, at most COMMON; of all owners, which tells rare from common well enough."""
    if not terms:
        return {}
    if _is_sqlite(session):
        query = text("SELECT doc FROM chunk_terms WHERE term = :term")
    else:
        query = text(
            "SELECT count(*) FROM (SELECT 1 FROM chunk_words "
            "WHERE words @@ to_tsquery('simple', :term) LIMIT :most) AS holding"
        )
    counts = {}
    for term in terms:
        asked = {"term": term} if _is_sqlite(session) else {"term": _lexeme(term), "most": COMMON}
        counts[term] = min(session.execute(query, asked).scalar() or 0, COMMON)
    return counts


def size(session: Session) -> int:
    """About how many chunks are indexed, without counting them."""
    query = (
        "SELECT coalesce(max(number), 0) FROM chunk_key"
        if _is_sqlite(session)
        else "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'chunk_words'::regclass"
    )
    return int(session.execute(text(query)).scalar() or 0)


def search(
    session: Session, owner_id: str, index: str, query: Query, limit: int, filters: Filters = NO_FILTERS
) -> list[tuple[str, frozenset[str]]]:
    """(chunk id, its words) of this owner's chunks that hold any of the terms and what is demanded, the best first.
    `index`: as `storage.indexes` names it."""
    if query.is_empty:
        return []
    mine = (_conversations.c.owner_id == owner_id, _chunks.c.embedding_model == index, *filters.conditions())
    if _is_sqlite(session):
        joined = _words.join(_key, _key.c.number == _words.c.rowid).join(_chunks, _chunks.c.id == _key.c.chunk_id)
        found = select(_chunks.c.id, _words.c.words).where(text("chunk_words MATCH :asked"))
        order, asked = text("bm25(chunk_words)"), _fts5(query)
    else:
        joined = _words.join(_chunks, _chunks.c.id == _words.c.chunk_id)
        found = select(_chunks.c.id, text("array_to_string(tsvector_to_array(words), ' ')"))
        found = found.where(text("words @@ to_tsquery('simple', :asked)"))
        order, asked = text("ts_rank(words, to_tsquery('simple', :asked)) DESC"), _tsquery(query)
    joined = joined.join(_conversations, _conversations.c.id == _chunks.c.conversation_id)
    found = found.select_from(joined).where(*mine).order_by(order, _chunks.c.id).limit(limit)
    return [(row[0], frozenset(row[1].split())) for row in session.execute(found, {"asked": asked})]


def near_titles(session: Session, owner_id: str, wanted: str, limit: int) -> list[tuple[str, float]]:
    """(conversation id, share of the query's trigrams that its title has), the nearest first: finds what was mistyped.
    Whole words are found by `conversations.match_titles`."""
    asked = _trigrams(wanted)
    if len(asked) < 3:
        return []
    if _is_sqlite(session):
        query = text(
            "SELECT title_key.conversation_id, title_words.title FROM title_words "
            "JOIN title_key ON title_key.number = title_words.rowid "
            "JOIN conversation ON conversation.id = title_key.conversation_id "
            "WHERE title_words MATCH :query AND conversation.owner_id = :owner ORDER BY bm25(title_words) LIMIT 200"
        )
        matching = " OR ".join(_quoted(trigram) for trigram in sorted(asked))
    else:
        query = text(
            "SELECT id, title FROM conversation WHERE owner_id = :owner AND :query <% lower(title) "
            "ORDER BY word_similarity(:query, lower(title)) DESC LIMIT 200"
        )
        matching = wanted.lower()
    found = session.execute(query, {"query": matching, "owner": owner_id})
    shares = [(row[0], len(asked & _trigrams(row[1])) / len(asked)) for row in found]
    near = [(conversation_id, share) for conversation_id, share in shares if share >= NEAR_TITLE]
    return sorted(near, key=lambda one: (-one[1], one[0]))[:limit]


def _trigrams(value: str) -> set[str]:
    plain = " ".join(value.lower().split())
    return {plain[at : at + 3] for at in range(len(plain) - 2)}


def _fts5(query: Query) -> str:
    demanded = [_phrase(phrase) for phrase in query.phrases]
    ranking = " OR ".join([*demanded, *map(_quoted, query.terms)])
    asked = " AND ".join([*demanded, f"({ranking})"])
    for phrase in query.excluded:
        asked = f"({asked}) NOT {_phrase(phrase)}"
    return asked


def _phrase(phrase: Phrase) -> str:
    return _quoted(" ".join(phrase))


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _tsquery(query: Query) -> str:
    demanded = [" <-> ".join(map(_lexeme, phrase)) for phrase in query.phrases]
    ranking = " | ".join([*(f"({phrase})" for phrase in demanded), *map(_lexeme, query.terms)])
    out = [" <-> ".join(map(_lexeme, phrase)) for phrase in query.excluded]
    return " & ".join([*(f"({part})" for part in (*demanded, ranking)), *(f"!({part})" for part in out)])


def _lexeme(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"
