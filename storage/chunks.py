"""Passages of messages, files and drafts: rows here, vectors of the same id in Chroma. A vector without a row is not
found by anyone."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple

import orjson
from sqlalchemy import Select, Table, bindparam, delete, func, insert, or_, select
from sqlmodel import Session, col

from storage import fulltext
from storage.filters import as_list, listed, owned
from storage.fulltext import is_sqlite
from storage.project_tables import FileAttachment, ProjectDraft, ProjectDraftVersion
from storage.tables import Chunk, Conversation, Message

_chunks: Table = Chunk.__table__  # type: ignore[attr-defined]
_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]


class FoundChunk(NamedTuple):
    """`about`: the id of the message, file or draft; `role`: of the message that said it; `filename`: of the file that
    holds it; `draft`: the title of that draft."""

    id: str
    text: str
    about: str
    conversation_id: str
    conversation_title: str
    role: str | None
    filename: str | None = None
    draft: str | None = None

    @property
    def kind(self) -> Literal["message", "file", "draft"]:
        return "file" if self.filename is not None else "draft" if self.draft is not None else "message"

    @property
    def message_id(self) -> str | None:
        return self.about if self.kind == "message" else None

    @property
    def file_id(self) -> str | None:
        return self.about if self.kind == "file" else None

    @property
    def draft_id(self) -> str | None:
        return self.about if self.kind == "draft" else None


def ids_of(session: Session, conversation_id: str, index: str, *, said_only: bool = False) -> set[str]:
    """`said_only`: without those of files and drafts."""
    of = (_chunks.c.conversation_id == conversation_id, _chunks.c.embedding_model == index)
    query = select(_chunks.c.id).where(*of)
    if said_only:
        query = query.join(Message, col(Message.id) == _chunks.c.message_id)
    return set(session.execute(query).scalars())


def add(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Write chunks and their words."""
    if rows:
        session.execute(insert(_chunks), rows)
        fulltext.add(session, rows)


def remove(session: Session, chunk_ids: Collection[str]) -> None:
    if chunk_ids:
        session.execute(delete(_chunks).where(_chunks.c.id.in_(list(chunk_ids))))


def load(session: Session, owner_id: str, chunk_ids: Collection[str]) -> dict[str, FoundChunk]:
    """Those of these that belong to `owner_id`, and to something that is still there."""
    if not chunk_ids:
        return {}
    sqlite = is_sqlite(session)
    found = session.execute(_loading(sqlite), {"owner": owner_id, **as_list(chunk_ids, sqlite)})
    return {row[0]: FoundChunk(*row) for row in found}


@functools.cache
def _loading(sqlite: bool) -> Select[Any]:
    columns = (_chunks.c.id, _chunks.c.text, _chunks.c.message_id, _conversations.c.id, _conversations.c.title)
    return (
        select(*columns, col(Message.role), col(FileAttachment.filename), col(ProjectDraftVersion.title))
        .join(_conversations, _conversations.c.id == _chunks.c.conversation_id)
        .outerjoin(Message, col(Message.id) == col(Chunk.message_id))
        .outerjoin(FileAttachment, col(FileAttachment.id) == col(Chunk.message_id))
        .outerjoin(ProjectDraft, col(ProjectDraft.id) == col(Chunk.message_id))
        .outerjoin(ProjectDraftVersion, col(ProjectDraftVersion.id) == col(ProjectDraft.active_version_id))
        .where(listed(_chunks.c.id, sqlite), owned(bindparam("owner")))
        .where(or_(*(col(row.id).is_not(None) for row in (Message, FileAttachment, ProjectDraftVersion))))
    )


class Place(NamedTuple):
    """Where a chunk belongs."""

    conversation_id: str
    title: str


def places(session: Session, owner_id: str, chunk_ids: Collection[str]) -> dict[str, Place]:
    """Of those of these chunks that belong to `owner_id`."""
    if not chunk_ids:
        return {}
    sqlite = is_sqlite(session)
    found = session.execute(_placing(sqlite), {"owner": owner_id, **as_list(chunk_ids, sqlite)})
    rows: Any = orjson.loads(found.scalar_one()) if sqlite else found
    return {row[0]: Place(row[1], row[2]) for row in rows}


@functools.cache
def _placing(sqlite: bool) -> Select[Any]:
    """SQLite gives them as one value: see `storage.fulltext`."""
    columns = (_chunks.c.id, _chunks.c.conversation_id, _conversations.c.title)
    query = select(func.json_group_array(func.json_array(*columns))) if sqlite else select(*columns)
    joined = _chunks.join(_conversations, _conversations.c.id == _chunks.c.conversation_id)
    return query.select_from(joined).where(listed(_chunks.c.id, sqlite), owned(bindparam("owner")))


def texts(session: Session, chunk_ids: Collection[str]) -> dict[str, str]:
    sqlite = is_sqlite(session)
    query = select(_chunks.c.id, _chunks.c.text).where(listed(_chunks.c.id, sqlite))
    return {row[0]: row[1] for row in session.execute(query, as_list(chunk_ids, sqlite))} if chunk_ids else {}


def replies(session: Session, message_ids: Collection[str], index: str) -> dict[str, Chunk]:
    """Question's message id → the beginning of the answer that stands behind it on the shown path."""
    query = (
        select(col(Message.parent_id), Chunk)
        .join(Chunk, col(Chunk.message_id) == col(Message.id))
        .where(col(Message.parent_id).in_(list(message_ids)), col(Message.role) == "assistant", col(Message.on_path))
        .where(col(Chunk.embedding_model) == index)
        .order_by(col(Chunk.start).desc())
    )
    return {question: chunk for question, chunk in session.execute(query) if question is not None}


def count(session: Session) -> int:
    return session.execute(select(func.count()).select_from(_chunks)).scalar_one()
