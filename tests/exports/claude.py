"""Claude exports made on the spot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.exports import Json, zip_of

ROOT = "00000000-0000-4000-8000-000000000000"


def claude_message(id: str, sender: str, text: str = "", *, minute: int = 0, content: Any = None, **more: Any) -> Json:
    """`content` replaces the usual one block of text."""
    said = f"2025-03-01T10:{minute:02}:00.123456Z"
    blocks = [{"type": "text", "text": text, "citations": []}] if content is None else content
    return {
        "uuid": id,
        "text": text,
        "content": blocks,
        "sender": sender,
        "created_at": said,
        "updated_at": said,
        "attachments": [],
        "files": [],
    } | more


def claude_conversation(
    id: str, name: str = "A conversation", messages: Sequence[Any] | None = None, **more: Any
) -> Json:
    """Two messages where none are given."""
    if messages is None:
        messages = [
            claude_message(f"{id}-0", "human", "Hello?", parent_message_uuid=ROOT),
            claude_message(f"{id}-1", "assistant", "Hello.", minute=1, parent_message_uuid=f"{id}-0"),
        ]
    return {
        "uuid": id,
        "name": name,
        "summary": "",
        "created_at": "2025-03-01T10:00:00.000000Z",
        "updated_at": "2025-03-01T11:00:00.000000Z",
        "account": {"uuid": "acc"},
        "chat_messages": list(messages),
    } | more


def claude_design(id: str, title: str = "A poster") -> Json:
    asked: Json = {
        "content": "Make it blue",
        "authorAccountUuid": "acc",
        "attachments": [{"name": "a.txt", "content": "A"}],
    }
    blocks: list[Json] = [
        {"type": "thinking", "text": "Blue, then."},
        {"type": "tool_call", "toolCall": {"name": "write_file", "input": {"path": "x"}}},
        {"type": "text", "text": "It is blue."},
        {"type": "user_interjection", "message": {"content": "Darker!"}},
    ]
    return {
        "uuid": id,
        "title": title,
        "project": {"name": "Posters", "uuid": "p"},
        "created_at": "2025-03-02T10:00:00Z",
        "updated_at": "2025-03-02T10:00:00Z",
        "messages": [
            {"uuid": f"{id}-0", "role": "user", "created_at": "2025-03-02T10:00:00Z", "content": asked},
            {"uuid": f"{id}-1", "role": "assistant", "content": {"contentBlocks": blocks}},
        ],
    }


def claude_json(conversations: Sequence[Any]) -> bytes:
    return json.dumps(list(conversations)).encode()


def claude_zip(conversations: Sequence[Any], extra: Mapping[str, bytes] | None = None) -> bytes:
    files = {
        "users.json": b'[{"uuid": "acc", "full_name": "Somebody"}]',
        "conversations.json": claude_json(conversations),
    }
    return zip_of(files | dict(extra or {}))
