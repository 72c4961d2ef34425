"""Project drafts: what a conversation is to become, version after version. The talk about one is a conversation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, func, select
from sqlmodel import Session, col

from config.errors import NotFound
from storage import conversations
from storage.ids import new_id
from storage.project_tables import ProjectDraft, ProjectDraftVersion
from storage.tables import Conversation, utcnow

MAX_TITLE_CHARS = 300
_drafts: Table = ProjectDraft.__table__  # type: ignore[attr-defined]
_versions: Table = ProjectDraftVersion.__table__  # type: ignore[attr-defined]


def serial_key(conversation_id: str) -> str:
    """One job at a time writes a draft, talks about it or makes a project of it."""
    return f"draft:{conversation_id}"


def find(session: Session, conversation_id: str) -> ProjectDraft | None:
    query = select(ProjectDraft).where(col(ProjectDraft.conversation_id) == conversation_id)
    return session.execute(query).scalar_one_or_none()


def get(session: Session, conversation_id: str) -> ProjectDraft:
    """Raises NotFound, also while nothing is written in it."""
    draft = find(session, conversation_id)
    if draft is None or draft.active_version_id is None:
        raise NotFound("There is no project draft of this conversation yet; POST to its /project-draft has one made.")
    return draft


def ensure(session: Session, conversation: Conversation, by: str | None) -> ProjectDraft:
    """The conversation's draft, without a version where there was none. The caller holds the conversation's lock."""
    draft = find(session, conversation.id)
    if draft is None:
        draft = ProjectDraft(conversation_id=conversation.id, created_by_user_id=by)
        session.add(draft)
        session.flush()
    return draft


def talk_of(session: Session, conversation: Conversation, by: str) -> Conversation:
    """The conversation in which the draft is talked about, locked; made when there is none."""
    draft = ensure(session, conversation, by)
    talk = None
    if draft.chat_id is not None:
        talk = conversations.find(session, draft.chat_id, conversation.owner_id, lock=True)
    if talk is None:
        talk = conversations.create(session, conversation.owner_id, f"Project draft: {conversation.title}"[:200])
        talk.title_is_custom = True  # a first question gives it no other
        draft.chat_id = talk.id
        session.add_all([talk, draft])
        session.flush()
    return talk


# --- versions


def active(session: Session, draft: ProjectDraft) -> ProjectDraftVersion | None:
    return session.get(ProjectDraftVersion, draft.active_version_id) if draft.active_version_id else None


def version(session: Session, draft: ProjectDraft, version_id: str) -> ProjectDraftVersion:
    """Raises NotFound, also for a version of another draft."""
    found = session.get(ProjectDraftVersion, version_id)
    if found is None or found.project_draft_id != draft.id:
        raise NotFound(f"The draft has no version {version_id[:64]}.")
    return found


def page(session: Session, draft: ProjectDraft, *, limit: int, offset: int) -> tuple[list[ProjectDraftVersion], int]:
    """Newest first, and how many there are in all."""
    theirs = _versions.c.project_draft_id == draft.id
    total = session.execute(select(func.count()).select_from(_versions).where(theirs)).scalar_one()
    query = select(ProjectDraftVersion).where(theirs).order_by(col(ProjectDraftVersion.version_number).desc())
    return list(session.execute(query.limit(limit).offset(offset)).scalars()), total


def add_version(
    session: Session,
    conversation: Conversation,
    title: str,
    description: str,
    *,
    by: str | None,
    activate: bool = True,
    **values: Any,
) -> ProjectDraft:
    """A new version, which becomes the active one. `values`: id, model, job_id, is_manual_edit. The caller holds the
    conversation's row lock, which makes the numbers follow each other."""
    draft = ensure(session, conversation, by)
    theirs = _versions.c.project_draft_id == draft.id
    last = session.execute(select(func.max(_versions.c.version_number)).where(theirs)).scalar_one()
    row = ProjectDraftVersion(
        **{"id": new_id(), **values},
        project_draft_id=draft.id,
        version_number=(last or 0) + 1,
        title=title,
        description=description,
        created_by_user_id=by,
    )
    session.add(row)
    session.flush()
    if activate or draft.active_version_id is None:
        make_active(session, draft, row)
    return draft


def make_active(session: Session, draft: ProjectDraft, row: ProjectDraftVersion) -> None:
    draft.active_version_id, draft.updated_at = row.id, utcnow()
    session.add(draft)
    session.flush()
    conversations.reindex(session, draft.conversation_id)


def contents(session: Session, draft: ProjectDraft) -> set[tuple[str, str, datetime]]:
    """(title, description, made at) of every version."""
    query = select(_versions.c.title, _versions.c.description, _versions.c.created_at)
    return {tuple(row) for row in session.execute(query.where(_versions.c.project_draft_id == draft.id))}


def texts(session: Session, conversation_id: str) -> list[tuple[str, str]]:
    """(draft id, what there is to be found in it): of the active version."""
    query = select(_drafts.c.id, _versions.c.title, _versions.c.description)
    query = query.join(_versions, _versions.c.id == _drafts.c.active_version_id)
    found = session.execute(query.where(_drafts.c.conversation_id == conversation_id))
    return [(row.id, f"{row.title}\n\n{row.description}") for row in found]


# --- as clients and events tell of them


def as_json(session: Session, draft: ProjectDraft) -> dict[str, Any]:
    now = active(session, draft)
    return {
        "id": draft.id,
        "conversation_id": draft.conversation_id,
        "title": now.title if now is not None else None,
        "description": now.description if now is not None else None,
        "active_version_id": draft.active_version_id,
        "active_version": version_json(now) if now is not None else None,
        "created_by_user_id": draft.created_by_user_id,
        "created_at": _iso(draft.created_at),
        "updated_at": _iso(draft.updated_at),
    }


def version_json(row: ProjectDraftVersion) -> dict[str, Any]:
    return {
        "id": row.id,
        "project_draft_id": row.project_draft_id,
        "version_number": row.version_number,
        "title": row.title,
        "description": row.description,
        "is_manual_edit": row.is_manual_edit,
        "model": row.model,
        "job_id": row.job_id,
        "created_by_user_id": row.created_by_user_id,
        "created_at": _iso(row.created_at),
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
