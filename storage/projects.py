"""Projects in Linear: one of a conversation, which is locked from then on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, select, update
from sqlmodel import Session, col

from config.errors import NotFound
from config.queues import Kind
from storage import drafts
from storage.project_tables import Project
from storage.tables import Conversation, Job

# What stands in a job's checkpoint from before Linear is asked to make something.
ASKED = "linear_asked"
_jobs: Table = Job.__table__  # type: ignore[attr-defined]
_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]


def marker_of(conversation_id: str) -> str:
    """Stands in the project's text, by which it is found again."""
    return f"backchannel-{conversation_id}"


def find(session: Session, conversation_id: str) -> Project | None:
    return session.execute(select(Project).where(col(Project.conversation_id) == conversation_id)).scalar_one_or_none()


def get(session: Session, conversation_id: str) -> Project:
    """Raises NotFound."""
    project = find(session, conversation_id)
    if project is None:
        raise NotFound("No project was made of this conversation yet.")
    return project


def add(session: Session, conversation: Conversation, project: Project) -> None:
    """The row and the locks of the conversation and of the talk about its draft. The caller holds the row lock."""
    session.add(project)
    draft = drafts.find(session, conversation.id)
    locked = [conversation.id, *([draft.chat_id] if draft is not None and draft.chat_id else [])]
    session.execute(update(_conversations).where(_conversations.c.id.in_(locked)).values(is_locked=True))
    session.flush()


def asked_at(session: Session, conversation_id: str) -> datetime | None:
    """When the first job came of which Linear may have heard; None: it knows nothing of this conversation."""
    query = (
        select(_jobs.c.created_at, _jobs.c.checkpoint)
        .where(
            _jobs.c.conversation_id == conversation_id,
            _jobs.c.kind.in_((Kind.PROJECT.value, Kind.DRAFT_CHAT.value)),
            _jobs.c.checkpoint.is_not(None),
        )
        .order_by(_jobs.c.id)
    )
    return next((row.created_at for row in session.execute(query) if row.checkpoint.get(ASKED)), None)


def as_json(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "conversation_id": project.conversation_id,
        "linear_project_id": project.linear_project_id,
        "linear_url": project.linear_url,
        "title": project.title,
        "description": project.description,
        "created_by_user_id": project.created_by_user_id,
        "created_at": project.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
