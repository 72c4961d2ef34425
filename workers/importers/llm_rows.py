"""Rows of `llm`'s log become conversations: the older `responses`, a question and its answer in a row, and the newer
`threads`, whose messages are named by their hash and shared between threads."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from workers.importers import values
from workers.importers.json_stream import storable
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.turns import (
    PREVIOUS,
    Head,
    Json,
    Notes,
    Turn,
    an_object,
    any_text,
    conversation,
    first_of,
    role_of,
    text_or_none,
    unknown,
)
from workers.ports import Role

SOURCE = "llm"
MAX_CHAIN = 200_000  # messages of one thread; a chain of parents may be a circle
MAX_TEXT = 128 << 20  # characters read for one conversation, which may name the same fragment any number of times

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "tool": "tool"}


class TooLarge(Exception):
    """More than MAX_TEXT."""


class Database:
    """Plain tables only: a view is the file's own SQL, and a virtual table's module could be anything. `read` counts
    characters, from wherever it was set."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.read = 0
        self._connection = connection
        self._columns: dict[str, set[str]] = {}
        self._places: dict[tuple[str, str], dict[Any, list[int]]] = {}
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
            if isinstance(name, str) and isinstance(sql, str) and not sql.upper().lstrip().startswith("CREATE VIRTUAL"):
                self._columns[name] = self._find_columns(name)

    def _find_columns(self, table: str) -> set[str]:
        quoted = table.replace('"', '""')
        try:
            nothing = self._connection.execute(f'SELECT * FROM "{quoted}" LIMIT 0')  # noqa: S608 - quoted
            return {column[0] for column in nothing.description}
        except sqlite3.Error:
            return set()

    def has(self, tables: dict[str, set[str]]) -> bool:
        return all(columns <= self._columns.get(table, set()) for table, columns in tables.items())

    def rows(self, table: str, column: str, value: Any, order: str = "") -> list[Json]:
        """The rows whose `column` is `value`; none of a table or column that is not there. Exports have few indexes,
        and a file may have none: the row numbers are kept here, by what stands in the column."""
        if column not in self._columns.get(table, ()) or not isinstance(value, str | int):
            return []
        places = self._places.get((table, column))
        if places is None:
            places = self._places[table, column] = {}
            for number, key in self.few(table, "rowid", column):
                places.setdefault(key, []).append(number)
        found = [row for number in places.get(value, ()) for row in self.row(table, number)]
        return sorted(found, key=lambda row: _sortable(row.get(order))) if order else found

    def row(self, table: str, number: int) -> Iterator[Json]:
        """Of a BLOB its size. Without what the provider was sent and sent itself (…_json): all of it once more."""
        cursor = self._connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (number,))  # noqa: S608 - our names
        names = [column[0] for column in cursor.description]
        for row in cursor:
            kept = {name: value for name, value in zip(names, row, strict=True) if not name.endswith("_json")}
            self.read += sum(len(value) for value in kept.values() if isinstance(value, str))
            if self.read > MAX_TEXT:
                raise TooLarge
            yield {name: len(value) if isinstance(value, bytes) else value for name, value in kept.items()}

    def few(self, table: str, *columns: str) -> Iterator[tuple[Any, ...]]:
        """These columns of every row; NULL for one the table lacks."""
        known = self._columns.get(table, set()) | {"rowid"}
        wanted = ", ".join(column if column in known else "NULL" for column in columns)
        yield from self._connection.execute(f"SELECT {wanted} FROM {table} ORDER BY rowid")  # noqa: S608 - our names


def _sortable(value: Any) -> tuple[bool, float, str]:
    """Numbers before text, nothing before both: any column may hold anything."""
    return isinstance(value, str), value if isinstance(value, int | float) else 0.0, str(value)


Made = Callable[[], ImportedConversation | ImportFailure]


@dataclass(slots=True)
class Reader:
    count: int
    make: Callable[[], Iterator[Made]]

    def __iter__(self) -> Iterator[Made]:
        return self.make()


def _bounded(database: Database, identifier: str | None, make: Made) -> ImportedConversation | ImportFailure:
    database.read = 0
    try:
        return make()
    except TooLarge:
        return ImportFailure(f"the conversation is larger than {MAX_TEXT >> 20} MiB and was skipped", identifier)


# --- the older schema ---


def responses(database: Database) -> Reader:
    """Only the numbers of all rows are held; a conversation's rows are fetched when its turn comes. A response without
    a conversation is one by itself."""
    groups: dict[str, array[int]] = {}
    alone: set[str] = set()
    for rowid, key, group in database.few("responses", "rowid", "id", "conversation_id"):
        identifier = values.native_id(group)
        if identifier is None:
            identifier = values.native_id(key) or str(rowid)
            alone.add(identifier)
        groups.setdefault(identifier, array("q")).append(rowid)

    def make() -> Iterator[Made]:
        for identifier, rowids in groups.items():
            of = None if identifier in alone else identifier
            yield partial(_bounded, database, identifier, partial(_from_responses, database, identifier, of, rowids))

    return Reader(len(groups), make)


def _from_responses(
    database: Database, identifier: str, conversation_id: str | None, rowids: Iterable[int]
) -> ImportedConversation:
    notes: Notes = Counter()
    about = next(iter(database.rows("conversations", "id", conversation_id)), {}) if conversation_id else {}
    rows = [row for rowid in rowids for row in database.row("responses", rowid)]
    rows.sort(key=lambda row: (str(row.get("datetime_utc") or ""), str(row.get("id"))))
    turns: list[Turn] = []
    for row in rows:
        turns += _question_and_answer(database, row, first=not turns)
    times = [str(row.get("datetime_utc") or "") for row in rows]
    head = Head(
        native_id=identifier,
        title=about.get("name"),
        begun=min(times, default=None),
        changed=max(times, default=None),
        model=about.get("model"),
    )
    return conversation(SOURCE, head, turns, notes)


def _question_and_answer(database: Database, row: Json, *, first: bool) -> Iterator[Turn]:
    key = values.native_id(row.get("id")) or values.digest(str(row.get("datetime_utc")), any_text(row.get("prompt")))
    when = values.moment(row.get("datetime_utc"))
    system = "\n\n".join([*_fragments(database, "system_fragments", key), any_text(row.get("system"))]).strip()
    if system and first:
        yield Turn(f"{key}:system", PREVIOUS, "system", [system], visibility="hidden", created_at=when)
    question = Turn(f"{key}:prompt", PREVIOUS, "user", created_at=when)
    for text in (*_fragments(database, "prompt_fragments", key), row.get("prompt")):
        question.say(text)
    for link in database.rows("prompt_attachments", "response_id", key, "order"):
        _attach(database, link.get("attachment_id"), question)
    for given in database.rows("tool_results", "response_id", key, "id"):  # of the calls one row before
        question.result(any_text(given.get("output")), given.get("name"))
    yield question
    answer = Turn(key, PREVIOUS, "assistant", model=text_or_none(row.get("model")), created_at=when)
    answer.think(row.get("reasoning"))
    for call in database.rows("tool_calls", "response_id", key, "id"):
        answer.call(call.get("name"), _parsed(call.get("arguments")))
    answer.say(row.get("response"))
    yield answer


def _fragments(database: Database, table: str, response_id: str) -> list[str]:
    found: list[str] = []
    for link in database.rows(table, "response_id", response_id, "order"):
        found += _fragment(database, link.get("fragment_id"))
    return found


def _fragment(database: Database, identifier: Any) -> list[str]:
    return [any_text(row.get("content")) for row in database.rows("fragments", "id", identifier)]


def _attach(database: Database, identifier: Any, turn: Turn) -> None:
    """The bytes, where the log holds them, are left where they are."""
    for row in database.rows("attachments", "id", identifier):
        content = row.get("content")
        turn.attach(
            id=values.native_id(row.get("id")),
            name=first_of(row, "path", "url"),
            mime_type=row.get("type"),
            url=row.get("url"),
            size=values.whole(content),
        )


# --- the newer schema ---


def threads(database: Database) -> Reader:
    found = [(rowid, values.native_id(key)) for rowid, key in database.few("threads", "rowid", "id")]

    def make() -> Iterator[Made]:
        for rowid, identifier in found:
            yield partial(_bounded, database, identifier, partial(_from_thread, database, rowid))

    return Reader(len(found), make)


def _from_thread(database: Database, rowid: int) -> ImportedConversation:
    notes: Notes = Counter()
    thread = next(database.row("threads", rowid), {})
    calls = database.rows("turns", "thread_id", thread.get("id"), "id")
    of_message = {call.get("tip_message_hash"): call for call in reversed(calls)}
    asked = {call.get("parent_message_hash"): call for call in reversed(calls)}
    # Calls whose answer the thread has moved away from are branches: every tip is walked up to what is known.
    rows: dict[str, Json] = {}
    for tip in (thread.get("tip_message_hash"), *of_message):
        _walk(database, tip, rows, notes)
    turns = [
        _message_turn(database, row, of_message.get(key) or asked.get(key) or _made_elsewhere(database, key), notes)
        for key, row in rows.items()
    ]
    times = [str(call.get("datetime_utc")) for call in calls if call.get("datetime_utc")]
    head = Head(
        native_id=values.native_id(thread.get("id")),
        title=thread.get("name"),
        begun=min(times, default=thread.get("datetime_utc")),
        changed=max(times, default=None),
        current=thread.get("tip_message_hash"),
        metadata={"forked_from": thread["forked_from"]} if text_or_none(thread.get("forked_from")) else {},
    )
    return conversation(SOURCE, head, turns, notes)


def _made_elsewhere(database: Database, key: str) -> Json:
    """The call of another thread, of which this one is a fork, that made the message or was made with it."""
    columns = ("tip_message_hash", "parent_message_hash")
    return next((row for column in columns for row in database.rows("turns", column, key, "id")), {})


def _walk(database: Database, tip: Any, rows: dict[str, Json], notes: Notes) -> None:
    """Add the chain that ends at `tip`, its beginning first."""
    chain: list[Json] = []
    walked: set[str] = set()
    while isinstance(tip, str) and tip not in rows and tip not in walked:
        if len(chain) >= MAX_CHAIN:
            notes[f"the thread is longer than {MAX_CHAIN} messages; its beginning was not read"] += 1
            break
        row = next(iter(database.rows("messages", "hash", tip)), None)
        if row is None:
            break
        walked.add(tip)
        chain.append(row)
        tip = row.get("parent_hash")
    rows |= {row["hash"]: row for row in reversed(chain)}


def _message_turn(database: Database, row: Json, call: Json, notes: Notes) -> Turn:
    role = role_of(row.get("role"), _ROLES, notes)
    turn = Turn(
        native_id=values.native_id(row.get("hash")),
        parent=values.native_id(row.get("parent_hash")),
        role=role,
        visibility="hidden" if role == "system" else "tool" if role == "tool" else "visible",
        model=text_or_none(call.get("model")) if role == "assistant" else None,
        created_at=values.moment(call.get("datetime_utc")),
    )
    for part in database.rows("parts", "message_hash", row.get("hash"), "position"):
        _part(database, part, turn, notes)
    return turn


def _part(database: Database, part: Json, turn: Turn, notes: Notes) -> None:
    kind, payload = part.get("type"), an_object(_parsed(part.get("payload")))
    text = any_text(part.get("text")) or _by_reference(database, payload)
    name = first_of(part, "tool_name") or payload.get("name")
    if kind == "text":
        turn.say(text)
    elif kind in ("reasoning", "thinking"):
        turn.think(text or any_text(payload))
    elif kind == "tool_call":
        turn.call(name, payload.get("arguments", payload))
    elif kind == "tool_result":
        turn.result(text or any_text(payload) or values.as_json(payload), name)
    elif kind == "attachment":
        about = an_object(payload.get("attachment")) or payload
        identifier = first_of(payload, "attachment_id", "id", "attachment")
        known = len(turn.attachments)
        _attach(database, first_of(about, "id") or identifier, turn)
        if len(turn.attachments) == known:
            turn.attach(name=first_of(about, "path", "url", "id"), mime_type=about.get("type"))
    else:
        unknown(notes, kind)
        turn.say(text or any_text(payload))


def _by_reference(database: Database, payload: Json) -> str:
    pieces: list[str] = []
    references = payload.get("text_ref")
    for piece in references if isinstance(references, list) else []:
        if isinstance(piece, dict):
            literal = piece.get("literal")
            pieces += [literal] if isinstance(literal, str) else _fragment(database, piece.get("fragment"))
    return "".join(pieces)


def _parsed(text: Any) -> Any:
    try:
        return storable(json.loads(text)) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text
