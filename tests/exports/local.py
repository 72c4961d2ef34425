"""Exports of programs that people run themselves: Open WebUI, LibreChat and llm."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.exports import Json

NO_PARENT = "00000000-0000-0000-0000-000000000000"


# --- Open WebUI ---


def webui_message(
    id: str, role: str, content: Any, parent: str | None = None, time: Any = 1_740_000_000, **more: Any
) -> Json:
    return {"id": id, "parentId": parent, "childrenIds": [], "role": role, "content": content, "timestamp": time} | more


def webui_chat(id: str, messages: Sequence[Json] | None = None, current: str | None = None, **more: Any) -> Json:
    if messages is None:
        messages = [
            webui_message(f"{id}-0", "user", "Hello?"),
            webui_message(f"{id}-1", "assistant", "Hello.", f"{id}-0", 1_740_000_010, model="llama3.2"),
        ]
        current = f"{id}-1"
    history = {"messages": {message["id"]: message for message in messages}, "currentId": current}
    return {
        "id": id,
        "user_id": "u",
        "title": "A conversation",
        "chat": {"title": "A conversation", "models": ["llama3.2"], "history": history, "messages": [], "params": {}},
        "created_at": 1_740_000_000,
        "updated_at": 1_740_000_100,
        "archived": False,
        "pinned": False,
        "folder_id": None,
        "meta": {"tags": ["greeting"]},
    } | more


# --- LibreChat ---


def librechat_message(id: str, text: str, parent: str = NO_PARENT, minute: int = 0, **more: Any) -> Json:
    """A person's, unless told that it is not."""
    return {
        "messageId": id,
        "parentMessageId": parent,
        "text": text,
        "sender": "User" if more.get("isCreatedByUser", True) else "GPT",
        "isCreatedByUser": True,
        "createdAt": f"2025-04-01T10:{minute:02}:00.000Z",
    } | more


def librechat_export(id: str, messages: Sequence[Json] | None = None, **more: Any) -> Json:
    if messages is None:
        messages = [
            librechat_message(f"{id}-0", "Hello?"),
            librechat_message(f"{id}-1", "Hello.", f"{id}-0", 1, isCreatedByUser=False, model="gpt-4o"),
        ]
    return {
        "conversationId": id,
        "endpoint": "openAI",
        "title": "A conversation",
        "exportAt": "10:00:00 GMT+0000",
        "branches": True,
        "recursive": False,
        "options": {"model": "gpt-4o"},
        "messages": list(messages),
    } | more


def nested(messages: Iterable[Json]) -> list[Json]:
    """The same as a tree."""
    made = {message["messageId"]: message | {"children": []} for message in messages}
    roots: list[Json] = []
    for message in made.values():
        made.get(message["parentMessageId"], {"children": roots})["children"].append(message)
    return roots


# --- llm ---

LLM_TABLES = """
CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT);
CREATE TABLE responses (id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, prompt_json TEXT, options_json TEXT,
    response TEXT, response_json TEXT, conversation_id TEXT, duration_ms INTEGER, datetime_utc TEXT);
CREATE TABLE attachments (id TEXT PRIMARY KEY, type TEXT, path TEXT, url TEXT, content BLOB);
CREATE TABLE prompt_attachments (response_id TEXT, attachment_id TEXT, "order" INTEGER,
    PRIMARY KEY (response_id, attachment_id));
CREATE TABLE fragments (id INTEGER PRIMARY KEY, hash TEXT, content TEXT, datetime_utc TEXT, source TEXT);
CREATE TABLE prompt_fragments (response_id TEXT, fragment_id INTEGER, "order" INTEGER,
    PRIMARY KEY (response_id, fragment_id, "order"));
CREATE TABLE system_fragments (response_id TEXT, fragment_id INTEGER, "order" INTEGER,
    PRIMARY KEY (response_id, fragment_id, "order"));
CREATE TABLE tool_calls (id INTEGER PRIMARY KEY, response_id TEXT, tool_id INTEGER, name TEXT, arguments TEXT,
    tool_call_id TEXT);
CREATE TABLE tool_results (id INTEGER PRIMARY KEY, response_id TEXT, tool_id INTEGER, name TEXT, output TEXT,
    tool_call_id TEXT);
"""
LLM_THREADS = """
CREATE TABLE threads (id TEXT PRIMARY KEY, name TEXT, tip_message_hash TEXT, forked_from TEXT, datetime_utc TEXT);
CREATE TABLE turns (id TEXT PRIMARY KEY, thread_id TEXT, parent_message_hash TEXT, tip_message_hash TEXT, model TEXT,
    datetime_utc TEXT);
CREATE TABLE messages (hash TEXT PRIMARY KEY, parent_hash TEXT, role TEXT, provider_metadata TEXT);
CREATE TABLE parts (message_hash TEXT, position INTEGER, type TEXT, tool_name TEXT, text TEXT, payload TEXT,
    PRIMARY KEY (message_hash, position));
"""


def llm_logs(path: Path, rows: dict[str, list[Json]], schema: str = "both", script: str = "") -> bytes:
    """A logs.db with these rows; `script` is run last, for what no llm would write."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript((LLM_TABLES if schema != "new" else "") + (LLM_THREADS if schema != "old" else ""))
        for table, found in rows.items():
            for row in found:
                names = ", ".join(f'"{name}"' for name in row)
                marks = ", ".join("?" for _ in row)
                connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
        connection.executescript(script)
    return path.read_bytes()


def llm_response(id: str, prompt: str, response: str, conversation: str | None, minute: int = 0, **more: Any) -> Json:
    return {
        "id": id,
        "model": "gpt-4o-mini",
        "prompt": prompt,
        "response": response,
        "conversation_id": conversation,
        "datetime_utc": f"2025-05-01T10:{minute:02}:00.000000",
    } | more


def llm_thread(id: str, *messages: tuple[str, str | None, str, str], tip: str) -> dict[str, list[Json]]:
    """Messages are (hash, parent, role, text); a turn for every answer."""
    return {
        "threads": [{"id": id, "name": "A thread", "tip_message_hash": tip, "datetime_utc": "2026-01-01T10:00:00"}],
        "messages": [{"hash": hash, "parent_hash": parent, "role": role} for hash, parent, role, _ in messages],
        "parts": [{"message_hash": m[0], "position": 0, "type": "text", "text": m[3]} for m in messages if m[3]],
        "turns": [
            {
                "id": f"turn-{number}",
                "thread_id": id,
                "parent_message_hash": parent,
                "tip_message_hash": hash,
                "model": "gpt-5",
                "datetime_utc": f"2026-01-01T10:{number:02}:00+00:00",
            }
            for number, (hash, parent, role, _) in enumerate(messages)
            if role == "assistant"
        ],
    }


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
