"""Sessions, as ClarityMentor and PocketLLM both list and delete them: conversations that were begun here."""

from __future__ import annotations

from typing import Any

from api.views import iso
from storage import conversations, stats
from storage.database import reading, transaction
from storage.filters import OWN_SOURCE, Filters
from storage.tables import Conversation

Json = dict[str, Any]


def page(owner_id: str, limit: int, offset: int) -> Json:
    """Most recently changed first."""
    with reading() as session:
        of = Filters(source=OWN_SOURCE)
        rows, total = conversations.page(session, owner_id, of, limit=limit, offset=offset)
        counts = stats.count_messages(session, [row.id for row in rows])
    sessions = [session_json(row) | {"message_count": counts.get(row.id, 0)} for row in rows]
    return {"sessions": sessions, "total": total, "limit": limit, "offset": offset}


def remove(owner_id: str, session_id: str) -> Json:
    """Raises NotFound, Conflict where it is locked."""
    with transaction() as session:
        conversations.open_for_writing(session, session_id, owner_id)
        conversations.remove(session, session_id, owner_id)
    return {"success": True, "message": "Session deleted", "session_id": session_id}


def session_json(row: Conversation) -> Json:
    return {
        "session_id": row.id,
        "title": row.title,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    }
