"""An imported conversation as rows: the port's dataclass as the columns of `storage.conversations.upsert`. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import orjson

from storage.tables import utcnow
from workers.importers.ports import ImportedConversation, ImportedMessage


def columns(found: ImportedConversation) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Of the conversation and of its messages."""
    shown = _shown_path(found)
    messages = [
        _message(message, position, message.native_id in shown) for position, message in enumerate(found.messages)
    ]
    now = utcnow()
    created = found.created_at or next((m.created_at for m in found.messages if m.created_at), None) or now
    conversation = {
        "source": found.source,
        "native_id": found.native_id,
        "url": found.url,
        "title": found.title,
        "model": found.model,
        "is_archived": found.is_archived,
        "has_attachments": any(message.parts.get("attachments") for message in found.messages),
        "extra": found.metadata,
        "created_at": created,
        "updated_at": found.updated_at or created,
        "source_updated_at": found.updated_at,
        **found.columns,
    }
    hashed = orjson.dumps(
        [found.title, found.is_archived, found.metadata, messages], default=_iso, option=orjson.OPT_NON_STR_KEYS
    )
    conversation["content_hash"] = hashlib.sha256(hashed).hexdigest()
    return conversation, messages


def _iso(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()


def _message(message: ImportedMessage, position: int, on_path: bool) -> dict[str, Any]:
    return {
        "native_id": message.native_id,
        "parent_native_id": message.parent_native_id,
        "position": position,
        "on_path": on_path,
        "role": message.role,
        "author_name": message.author_name,
        "content": message.content,
        "visibility": message.visibility,
        "model": message.model,
        "parts": message.parts,
        "created_at": message.created_at,
        **message.columns,
    }


def _shown_path(found: ImportedConversation) -> set[str]:
    """Native ids from the current message up to its root."""
    parents = {message.native_id: message.parent_native_id for message in found.messages}
    path: set[str] = set()
    at = found.current_native_id
    while at is not None and at in parents and at not in path:
        path.add(at)
        at = parents[at]
    return path
