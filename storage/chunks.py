"""Passages of messages: rows here, vectors of the same id in Chroma. A vector without a row is not found by anyone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, delete, func, insert, select
from sqlmodel import Session, col

from storage import fulltext
from storage.tables import Chunk, Conversation, Message

_chunks: Table = Chunk.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class FoundChunk:
    chunk: Chunk
    conversation: Conversation
    role: str


def ids_of(session: Session, conversation_id: str, index: str) -> set[str]:
    of = (_chunks.c.conversation_id == conversation_id, _chunks.c.embedding_model == index)
    return set(session.execute(select(_chunks.c.id).where(*of)).scalars())


def add(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Write chunks and their words."""
    if rows:
        session.execute(insert(_chunks), rows)
        fulltext.add(session, rows)


def remove(session: Session, chunk_ids: Collection[str]) -> None:
    if chunk_ids:
        session.execute(delete(_chunks).where(_chunks.c.id.in_(list(chunk_ids))))


def load(session: Session, owner_id: str, chunk_ids: Sequence[str]) -> dict[str, FoundChunk]:
    """Rows of these ids that belong to `owner_id`."""
    query = (
        select(Chunk, Conversation, col(Message.role))
        .join(Conversation, col(Conversation.id) == col(Chunk.conversation_id))
        .join(Message, col(Message.id) == col(Chunk.message_id))
        .where(col(Chunk.id).in_(list(chunk_ids)), col(Conversation.owner_id) == owner_id)
    )
    return {chunk.id: FoundChunk(chunk, conversation, role) for chunk, conversation, role in session.execute(query)}


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
