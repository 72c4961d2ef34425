"""The log of the llm command, in both schemas; and databases that nobody should trust."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from config.errors import UnreadableImport
from tests.exports import zip_of
from tests.exports.local import llm_logs, llm_response, llm_thread
from tests.workers.importers.reading import (
    assert_resumes,
    check,
    found_in,
    kinds,
    only,
    path,
    read,
    reasons,
    shown,
)
from workers.importers import llm_logs as importer
from workers.importers.detect import importer_for

TWO = {
    "conversations": [{"id": "c1", "name": "First", "model": "gpt-4o-mini"}],
    "responses": [
        llm_response("r2", "And?", "So.", "c1", 1),
        llm_response("r1", "Hello?", "Hello.", "c1"),
        llm_response("r3", "Alone", "Yes.", None, 5),
    ],
}
PELICAN = llm_thread(
    "t1",
    ("h1", None, "user", "A name?"),
    ("h2", "h1", "assistant", "Percy."),
    ("h3", "h2", "user", "Another?"),
    ("h4", "h3", "assistant", "Wallace."),
    ("h5", "h1", "assistant", "Steven."),
    tip="h4",
)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "logs.db"


def test_the_older_schema(db: Path) -> None:
    data = llm_logs(db, TWO, "old")
    first, alone = found_in(read(data, "llm"))
    assert (first.native_id, first.title, first.model) == ("c1", "First", "gpt-4o-mini")
    assert shown(first) == [("user", "Hello?"), ("assistant", "Hello."), ("user", "And?"), ("assistant", "So.")]
    assert [str(time) for time in (first.created_at, first.updated_at)] == [
        "2025-05-01 10:00:00+00:00",
        "2025-05-01 10:01:00+00:00",
    ]
    assert (alone.native_id, alone.title, shown(alone)[1]) == ("r3", "Alone", ("assistant", "Yes."))
    check(first)
    assert_resumes(data, "llm")


def test_what_belongs_to_a_response(db: Path) -> None:
    rows = {
        "responses": [llm_response("r", "And this?", "Four.", "c", system="Be brief.")],
        "fragments": [{"id": 1, "content": "A page."}, {"id": 2, "content": "Rules."}],
        "prompt_fragments": [{"response_id": "r", "fragment_id": 1, "order": 0}],
        "system_fragments": [{"response_id": "r", "fragment_id": 2, "order": 0}],
        "attachments": [{"id": "a", "type": "image/png", "path": "x.png", "content": b"1234"}],
        "prompt_attachments": [{"response_id": "r", "attachment_id": "a", "order": 0}],
        "tool_calls": [{"response_id": "r", "name": "add", "arguments": '{"a": 2}'}],
        "tool_results": [{"response_id": "r", "name": "add", "output": "4"}],
    }
    found = only(llm_logs(db, rows, "old"), "llm")
    assert kinds(found) == [
        ("system", "hidden"),
        ("tool", "tool"),
        ("user", "visible"),
        ("assistant", "tool"),
        ("assistant", "visible"),
    ]
    system, _, asked, called, _ = path(found)
    assert system.content == "Rules.\n\nBe brief."
    assert asked.content == "A page.\n\nAnd this?"
    assert asked.parts["attachments"] == [{"id": "a", "name": "x.png", "mime_type": "image/png", "size": 4}]
    assert (called.author_name, called.content) == ("add", '```json\n{\n "a": 2\n}\n```')


def test_the_newer_schema(db: Path) -> None:
    data = llm_logs(db, PELICAN, "new")
    found = only(data, "llm")
    assert (found.native_id, found.title, found.model) == ("t1", "A thread", "gpt-5")
    assert [text for _, text in shown(found)] == ["A name?", "Percy.", "Another?", "Wallace."]
    assert {m.native_id: m.parent_native_id for m in found.messages}["h5"] == "h1"
    assert [str(m.created_at) for m in path(found)][1] == "2026-01-01 10:01:00+00:00"


def test_a_fork_knows_when_what_it_shares_was_said_and_by_whom(db: Path) -> None:
    rows = dict(PELICAN)
    rows["threads"] = [*rows["threads"], {"id": "fork", "tip_message_hash": "h2", "forked_from": "t1"}]
    whole, fork = found_in(read(llm_logs(db, rows, "new"), "llm"))
    said = {m.native_id: (m.model, m.created_at) for m in whole.messages}
    assert fork.metadata == {"forked_from": "t1"}
    assert fork.messages
    assert all(said[m.native_id] == (m.model, m.created_at) for m in fork.messages)
    assert fork.messages[-1].created_at is not None


def test_parts_of_every_kind(db: Path) -> None:
    rows = llm_thread("t", ("h1", None, "user", ""), ("h2", "h1", "assistant", ""), tip="h2")
    rows["fragments"] = [{"id": 7, "content": "The novel."}]
    payloads: list[tuple[str, str, Any]] = [
        ("h1", "text", {"text_ref": [{"fragment": 7}, {"literal": " What of it?"}]}),
        ("h1", "attachment", {"attachment": {"path": "a.png", "type": "image/png"}}),
        ("h2", "reasoning", {"text": "Hm."}),
        ("h2", "tool_call", {"name": "add", "arguments": {"a": 2}}),
        ("h2", "tool_result", {"output": "4"}),
        ("h2", "text", {"text_ref": [{"literal": "Four."}]}),
        ("h2", "odd", {"text": "kept"}),
    ]
    rows["parts"] = [
        {"message_hash": message, "position": at, "type": kind, "payload": json.dumps(payload)}
        for at, (message, kind, payload) in enumerate(payloads)
    ]
    found = only(llm_logs(db, rows), "llm")
    assert shown(found) == [("user", "The novel. What of it?"), ("assistant", "Four.\n\nkept")]
    assert kinds(found)[1:4] == [("assistant", "reasoning"), ("assistant", "tool"), ("tool", "tool")]
    assert path(found)[0].parts["attachments"] == [{"name": "a.png", "mime_type": "image/png"}]


def test_both_schemas_in_one_file_and_in_a_zip(db: Path) -> None:
    data = llm_logs(db, TWO | PELICAN)
    assert [found.native_id for found in found_in(read(data, "llm"))] == ["c1", "r3", "t1"]
    assert_resumes(data, "llm")
    assert len(found_in(read(zip_of({"io.datasette.llm/logs.db": data}), "llm"))) == 3
    with db.open("rb") as file:  # as the task opens it: nothing is copied
        assert importer._own_path(file) == db.resolve()
        assert len(list(importer.LLMLogsImporter().read(file))) == 3


def test_another_database_is_not_one(db: Path) -> None:
    data = llm_logs(db, {}, "old", "DROP TABLE responses; CREATE TABLE cars (id)")
    with pytest.raises(UnreadableImport, match="SQLite database, but not the log of llm"):
        importer_for(io.BytesIO(data), "logs.db")


def test_messages_in_a_circle_and_without_parents(db: Path) -> None:
    rows = llm_thread(
        "t", ("h1", "h2", "user", "A"), ("h2", "h1", "assistant", "B"), ("h3", "gone", "user", "C"), tip="h2"
    )
    rows["threads"].append({"id": "u", "tip_message_hash": "h3"})
    rows["threads"].append({"id": "v", "tip_message_hash": None})
    first, second, third = found_in(read(llm_logs(db, rows), "llm"))
    assert sorted(m.content for m in check(first).messages) == ["A", "B"]
    assert [m.content for m in check(second).messages] == ["C"]
    assert third.messages == []


def test_any_type_may_stand_in_any_column(db: Path) -> None:
    rows = {
        "conversations": [{"id": b"\xff", "name": 7, "model": b"x"}],
        "responses": [
            llm_response("r", "x", "y", None) | {"prompt": b"\xff\x00", "response": 17, "datetime_utc": 5},
            {"id": None, "prompt": "no id", "response": None},
        ],
        "tool_calls": [{"response_id": "r", "name": 5, "arguments": "{broken"}],
    }
    items = read(llm_logs(db, rows), "llm")
    assert [check(found).title for found in found_in(items)] == ["Untitled", "no id"]


def test_a_view_in_place_of_the_table_is_not_read(db: Path) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    script = (
        f"DROP TABLE responses; CREATE VIEW responses AS {endless} SELECT x AS id, x AS prompt, x AS response FROM n"
    )
    data = llm_logs(db, {}, "old", script)
    assert not importer.LLMLogsImporter().recognise(io.BytesIO(data), "logs.db")


def test_nothing_but_reading_is_permitted(db: Path) -> None:
    llm_logs(db, TWO)
    with db.open("rb") as file, importer._opened(file) as database:
        assert database is not None
        for statement in (
            "DELETE FROM responses",
            "ATTACH ':memory:' AS other",
            "PRAGMA query_only=OFF",
            "SELECT load_extension('x')",
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
        ):
            with pytest.raises(sqlite3.Error):
                database._connection.execute(statement).fetchall()


def test_reading_ends_when_it_takes_too_long(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = llm_logs(db, {"responses": [llm_response(f"r{n}", "x", "y", f"c{n}") for n in range(300)]})
    monkeypatch.setattr(importer, "STEPS", 20)
    monkeypatch.setattr(importer, "MAX_CALLS", 200)
    items = list(importer.LLMLogsImporter().read(io.BytesIO(data)))
    assert reasons(items) == ["the database takes too long to read; the rest of it was not imported"]
    assert [item.index for item in items] == list(range(len(items)))


def test_a_value_that_is_too_big(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = llm_logs(
        db, {"responses": [llm_response("a", "small", "y", "c"), llm_response("b", "x" * 100_000, "y", "d")]}
    )
    monkeypatch.setattr(importer, "MAX_VALUE", 50_000)
    items = read(data, "llm")
    assert len(found_in(items)) == 1
    assert "more than" in reasons(items)[0]


def test_damage_ends_in_a_reason(db: Path) -> None:
    data = bytearray(llm_logs(db, {"responses": [llm_response(f"r{n}", "x" * 5000, "y", f"c{n}") for n in range(50)]}))
    whole = bytes(data)
    for at in range(len(data) // 2, len(data), 97):
        data[at] ^= 0xFF
    for damaged in (bytes(data), whole[: len(whole) // 2], whole[:5000], b"SQLite format 3\0" + b"\xff" * 5000):
        try:
            items = list(importer_for(io.BytesIO(damaged), "x").read(io.BytesIO(damaged)))
        except UnreadableImport:
            continue
        assert len(reasons(items)) <= 1
