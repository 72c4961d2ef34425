"""Everything a person owns, to be taken away: conversations in the order of their ids, each with all its messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlmodel import col, select

from storage import messages
from storage.database import reading
from storage.filters import Filters
from storage.tables import Conversation, Message

# One conversation is read at a time, and no transaction is held while it is sent.
_PAGE = 100


def conversations_of(owner_id: str, filters: Filters) -> Iterator[tuple[Conversation, list[Message]]]:
    """What is added while it is read comes at the end; what is deleted meanwhile is left out."""
    last = ""
    while True:
        with reading() as session:
            query = select(Conversation).where(
                col(Conversation.owner_id) == owner_id, col(Conversation.id) > last, *filters.conditions()
            )
            rows = list(session.exec(query.order_by(col(Conversation.id)).limit(_PAGE)))
        if not rows:
            return
        for row in rows:
            with reading() as session:
                yield row, messages.tree(session, row.id)
        last = rows[-1].id


def as_json(conversation: Conversation, tree: list[Message]) -> dict[str, Any]:
    """One line of the export; docs/export-format.md describes it."""
    native = {message.id: message.native_id for message in tree}
    about = ("source", "native_id", "url", "title", "title_is_custom", "model", "is_archived", "is_locked")
    said = (
        "native_id", "on_path", "role", "author_name", "content", "visibility", "model", "parts", "sources",
        "prompt_tokens", "completion_tokens", "response_ms", "created_at",
    )  # fmt: skip
    times = ("created_at", "updated_at", "imported_at")
    return {
        "format": "backchannel.conversation",
        "version": 1,
        "conversation": {name: getattr(conversation, name) for name in (*about, *times)}
        | {"metadata": conversation.extra},
        "messages": [
            {name: getattr(message, name) for name in said}
            | {"parent_native_id": native.get(message.parent_id) if message.parent_id else None}
            for message in tree
        ],
    }


def as_markdown(conversation: Conversation, tree: list[Message]) -> str:
    """What was shown, to be read by people."""
    about = [f"source: {conversation.source}", f"changed: {conversation.updated_at:%Y-%m-%d %H:%M} UTC"]
    if conversation.url:
        about.append(conversation.url)
    blocks = [f"# {' '.join(conversation.title.split()) or 'Untitled'}", " · ".join(about)]
    for message in tree:
        if message.on_path and message.visibility == "visible":
            when = f" · {message.created_at:%Y-%m-%d %H:%M}" if message.created_at else ""
            blocks += [f"## {message.author_name or message.role.capitalize()}{when}", message.content.strip()]
    return "\n\n".join(blocks) + "\n"
