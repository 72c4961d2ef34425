"""The trigrams of titles, by which a mistyped one is found: FTS5 on SQLite, pg_trgm on PostgreSQL. As in
`storage.fulltext`, tables are made of statements; rows go with their conversation by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import ColumnElement, text
from sqlmodel import Session

from storage.fulltext import is_sqlite, quoted, when_made
from storage.tables import Conversation

_SQLITE = (
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
_POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX ix_conversation_title_trgm ON conversation USING gin (lower(title) gin_trgm_ops)",
)
# For those who compare the database with the classes: these are not forgotten, they are ours.
NAMES = ("title_key", "title_words", "ix_conversation_title_trgm")

# So many trigrams of the query must a title share to be near it: the half of them.
NEAR_TITLE = 0.5

when_made(Conversation.__table__, sqlite=_SQLITE, postgresql=_POSTGRESQL)  # type: ignore[attr-defined]


def in_titles(session: Session, wanted: Sequence[str]) -> list[ColumnElement[bool]]:
    """Conditions on conversations that let an index find the titles that hold all of these words, and maybe others;
    none where there is no such index or nothing long enough for one."""
    long = [word for word in wanted if len(word) >= 3]
    if not long or not is_sqlite(session):
        return []  # PostgreSQL finds a LIKE in the index by itself
    asked = text(
        "conversation.id IN (SELECT title_key.conversation_id FROM title_words "
        "JOIN title_key ON title_key.number = title_words.rowid WHERE title_words MATCH :in_title)"
    )
    return [cast(ColumnElement[bool], asked.bindparams(in_title=" AND ".join(map(quoted, long))))]


def near_titles(session: Session, owner_id: str, wanted: str, limit: int) -> list[tuple[str, float]]:
    """(conversation id, share of the query's trigrams that its title has), the nearest first: finds what was mistyped.
    Whole words are found by `conversations.match_titles`."""
    asked = _trigrams(wanted)
    if len(asked) < 3:
        return []
    if is_sqlite(session):
        query = text(
            "SELECT title_key.conversation_id, title_words.title FROM title_words "
            "JOIN title_key ON title_key.number = title_words.rowid "
            "JOIN conversation ON conversation.id = title_key.conversation_id "
            "WHERE title_words MATCH :query AND conversation.owner_id = :owner ORDER BY bm25(title_words) LIMIT 200"
        )
        matching = " OR ".join(quoted(trigram) for trigram in sorted(asked))
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
