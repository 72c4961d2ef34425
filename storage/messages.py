"""Messages: the tree is kept, the shown path is what most readers want."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, delete, func, select, update
from sqlmodel import Session, col

from config.errors import Conflict
from storage import conversations, gone, model_cache
from storage.ids import new_id
from storage.tables import Conversation, Message, utcnow

_messages: Table = Message.__table__  # type: ignore[attr-defined]


def path(session: Session, conversation_id: str, *, visible_only: bool = True) -> list[Message]:
    """The shown branch in reading order."""
    query = select(Message).where(col(Message.conversation_id) == conversation_id, col(Message.on_path))
    if visible_only:
        query = query.where(col(Message.visibility) == "visible")
    return list(session.execute(query.order_by(col(Message.position), col(Message.id))).scalars())


def tree(session: Session, conversation_id: str) -> list[Message]:
    """Every message, parents before children."""
    query = select(Message).where(col(Message.conversation_id) == conversation_id)
    return list(session.execute(query.order_by(col(Message.position), col(Message.id))).scalars())


def latest(session: Session, conversation_id: str, limit: int) -> tuple[list[Message], int]:
    """The last `limit` visible messages of the shown branch, oldest first, and how many there are in all."""
    shown = (
        col(Message.conversation_id) == conversation_id,
        col(Message.on_path),
        col(Message.visibility) == "visible",
    )
    total = session.execute(select(func.count()).select_from(_messages).where(*shown)).scalar_one()
    query = select(Message).where(*shown).order_by(col(Message.position).desc(), col(Message.id).desc()).limit(limit)
    return list(session.execute(query).scalars())[::-1], total


def add_question(session: Session, conversation: Conversation, content: str) -> Message:
    """A person's message at the end of the shown path. The caller holds the conversation's row lock."""
    last = session.execute(
        select(_messages.c.id, _messages.c.position)
        .where(_messages.c.conversation_id == conversation.id, _messages.c.on_path)
        .order_by(_messages.c.position.desc())
        .limit(1)
    ).first()
    highest = session.execute(
        select(func.max(_messages.c.position)).where(_messages.c.conversation_id == conversation.id)
    ).scalar_one()
    message_id = new_id()
    message = Message(
        id=message_id,
        native_id=message_id,
        conversation_id=conversation.id,
        parent_id=last.id if last else None,
        position=(highest if highest is not None else -1) + 1,
        role="user",
        content=content,
        created_at=utcnow(),
    )
    session.add(message)
    session.flush()
    return message


def add_answer(session: Session, question: Message, content: str, *, message_id: str, **values: Any) -> Message:
    """The answer right behind its question; later questions, asked while it was being written, move behind it.
    Raises Conflict when the question is gone."""
    session.execute(
        select(col(Conversation.id)).where(col(Conversation.id) == question.conversation_id).with_for_update()
    )
    position = session.execute(select(_messages.c.position).where(_messages.c.id == question.id)).scalar_one_or_none()
    if position is None:
        raise Conflict("The question was deleted before it was answered.")
    later = (_messages.c.conversation_id == question.conversation_id, _messages.c.position > position)
    session.execute(update(_messages).where(*later).values(position=_messages.c.position + 1))
    session.execute(
        update(_messages)
        .where(
            _messages.c.parent_id == question.id, _messages.c.role == "user", _messages.c.native_id == _messages.c.id
        )
        .values(parent_id=message_id)
    )
    message = Message(
        id=message_id,
        native_id=message_id,
        conversation_id=question.conversation_id,
        parent_id=question.id,
        position=position + 1,
        role="assistant",
        content=content,
        created_at=utcnow(),
        **values,
    )
    session.add(message)
    session.flush()
    return message


def before(session: Session, question: Message) -> list[Message]:
    """The shown path up to and including `question`: what a model is given."""
    query = select(Message).where(
        col(Message.conversation_id) == question.conversation_id,
        col(Message.on_path),
        col(Message.visibility) == "visible",
        col(Message.position) <= question.position,
    )
    return list(session.execute(query.order_by(col(Message.position), col(Message.id))).scalars())


def get(session: Session, message_id: str) -> Message | None:
    return session.get(Message, message_id)


def id_of(session: Session, conversation_id: str, native_id: str | None) -> str | None:
    """None where the conversation has no message of that native id."""
    of = (_messages.c.conversation_id == conversation_id, _messages.c.native_id == native_id)
    return session.execute(select(_messages.c.id).where(*of)).scalar_one_or_none()


def clear(session: Session, conversation_id: str) -> int:
    """Remove every message of a conversation, and what models remember of it; returns how many there were. Its files
    stay. The caller touches the conversation."""
    model_cache.forget_after_commit(session)
    theirs = delete(_messages).where(_messages.c.conversation_id == conversation_id)
    removed = len(session.execute(theirs.returning(_messages.c.id)).all())
    gone.drop_chunks_said(session, conversation_id)
    conversations.note_attachments(session, conversation_id)
    return removed
