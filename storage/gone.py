"""What was deleted here and still lies elsewhere: vectors in Chroma, objects in the bucket.

It is noted in the transaction that deletes, and before anything is written there, so that nothing stays behind when a
process dies or the other side is away. `tasks.embeddings` and `tasks.files` carry it out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, literal, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from storage.project_tables import FileAttachment, GoneObject, GoneVector, ProjectDraft
from storage.tables import Chunk, Conversation, utcnow

_vectors: Table = GoneVector.__table__  # type: ignore[attr-defined]
_objects: Table = GoneObject.__table__  # type: ignore[attr-defined]
_files: Table = FileAttachment.__table__  # type: ignore[attr-defined]
_drafts: Table = ProjectDraft.__table__  # type: ignore[attr-defined]
_chunks: Table = Chunk.__table__  # type: ignore[attr-defined]
_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]


def _insert(session: Session, table: Table) -> Any:
    """An insert that can leave alone what is there."""
    return sqlite.insert(table) if session.get_bind().dialect.name == "sqlite" else postgresql.insert(table)


# --- vectors


def note_vectors(session: Session, owner_id: str, index: str, ids: Iterable[str]) -> None:
    rows = [{"id": chunk_id, "index_name": index, "owner_id": owner_id} for chunk_id in sorted(ids)]
    if rows:
        session.execute(_insert(session, _vectors).on_conflict_do_nothing(), rows)


def note_vectors_of(session: Session, conversation_ids: Collection[str]) -> None:
    """All that are in any index."""
    _note_where(session, _chunks.c.conversation_id.in_(conversation_ids))


def drop_chunks_said(session: Session, conversation_id: str) -> None:
    """Those of messages: a conversation's words leave the search at once, its files and its draft stay."""
    others = union_all(*(select(of.c.id).where(of.c.conversation_id == conversation_id) for of in (_files, _drafts)))
    _drop_where(session, and_(_chunks.c.conversation_id == conversation_id, _chunks.c.message_id.not_in(others)))


def drop_chunks_of_file(session: Session, conversation_id: str, file_id: str) -> None:
    _drop_where(session, and_(_chunks.c.conversation_id == conversation_id, _chunks.c.message_id == file_id))


def _drop_where(session: Session, which: ColumnElement[bool]) -> None:
    _note_where(session, which)
    session.execute(delete(_chunks).where(which))


def _note_where(session: Session, which: ColumnElement[bool]) -> None:
    theirs = (
        select(_chunks.c.id, _chunks.c.embedding_model, _conversations.c.owner_id)
        .join(_conversations, _conversations.c.id == _chunks.c.conversation_id)
        .where(which)
    )
    columns = ["id", "index_name", "owner_id"]
    session.execute(_insert(session, _vectors).from_select(columns, theirs).on_conflict_do_nothing())


def keep_vectors(session: Session, ids: Collection[str]) -> None:
    """These have their chunks, or are gone there too."""
    if ids:
        session.execute(delete(_vectors).where(_vectors.c.id.in_(list(ids))))


def vectors(session: Session, owner_id: str, limit: int) -> list[tuple[str, str]]:
    """(index, id) of vectors to be removed."""
    query = select(_vectors.c.index_name, _vectors.c.id).where(_vectors.c.owner_id == owner_id)
    return [(row.index_name, row.id) for row in session.execute(query.order_by(_vectors.c.index_name).limit(limit))]


def hand_over(session: Session, owner_id: str, heir_id: str, limit: int) -> int:
    """Have another owner's job remove them. Returns how many changed hands."""
    some = select(_vectors.c.id).where(_vectors.c.owner_id == owner_id).limit(limit).scalar_subquery()
    changed = session.execute(update(_vectors).where(_vectors.c.id.in_(some)).values(owner_id=heir_id))
    return changed.rowcount  # type: ignore[attr-defined]


def owners(session: Session) -> list[str]:
    """Whose vectors are to be removed."""
    return list(session.execute(select(_vectors.c.owner_id).distinct()).scalars())


# --- objects


def note_object(session: Session, key: str, due_at: datetime | None = None) -> None:
    """`due_at`: not removed before; now, unless it is being written."""
    values = {"due_at": due_at or utcnow()}
    statement = _insert(session, _objects).values(key=key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["key"], set_=values))


def note_objects_of(session: Session, conversation_ids: Collection[str]) -> None:
    """All that its files have in the bucket."""
    theirs = select(_files.c.s3_key, literal(utcnow(), _objects.c.due_at.type)).where(
        _files.c.conversation_id.in_(conversation_ids), _files.c.s3_key.is_not(None)
    )
    session.execute(_insert(session, _objects).from_select(["key", "due_at"], theirs).on_conflict_do_nothing())


def claim_object(session: Session, key: str, due_at: datetime) -> bool:
    """`note_object`, unless somebody else has noted or uses this key."""
    statement = _insert(session, _objects).values(key=key, due_at=due_at).on_conflict_do_nothing()
    if session.execute(statement.returning(_objects.c.key)).first() is None:
        return False
    if session.execute(select(_files.c.id).where(_files.c.s3_key == key)).first() is None:
        return True
    keep_object(session, key)
    return False


def keep_object(session: Session, key: str) -> bool:
    """It has its file, or is gone there too. False when it was not noted any more: it may have been removed."""
    return session.execute(delete(_objects).where(_objects.c.key == key).returning(_objects.c.key)).first() is not None


def objects(session: Session, limit: int) -> list[str]:
    """Keys that are due."""
    query = select(_objects.c.key).where(_objects.c.due_at <= utcnow()).order_by(_objects.c.due_at)
    return list(session.execute(query.limit(limit)).scalars())
