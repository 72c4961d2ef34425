"""What was spoken: kept with the messages, in `parts`, their audio among the conversation's files."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, select, update
from sqlmodel import Session, col

from storage import conversations, files, messages
from storage.file_types import WAV
from storage.ids import new_id
from storage.project_tables import FileAttachment
from storage.tables import Conversation, Message, utcnow

_messages: Table = Message.__table__  # type: ignore[attr-defined]
_files: Table = FileAttachment.__table__  # type: ignore[attr-defined]
VOICE = "voice"


def of(message: Message) -> dict[str, Any] | None:
    """{file_id, duration_ms, …}; None of what was written."""
    return message.parts.get(VOICE)


def note(session: Session, message_id: str, **parts: Any) -> None:
    """Keep `parts` with a message, beside what it has; harmless where it is gone."""
    kept = session.execute(select(_messages.c.parts).where(_messages.c.id == message_id)).scalar_one_or_none()
    if kept is not None:
        session.execute(update(_messages).where(_messages.c.id == message_id).values(parts={**kept, **parts}))


def add_audio(session: Session, conversation_id: str, message_id: str, name: str, digest: str, size: int) -> str | None:
    """The id of the file; None where the conversation is gone."""
    query = select(Conversation).where(col(Conversation.id) == conversation_id)
    conversation = session.execute(query.with_for_update()).scalar_one_or_none()
    if conversation is None:
        return None
    about = {"filename": name, "file_size": size, "file_type": WAV, "digest": digest, "read_at": utcnow()}
    return files.add(session, conversation, message_id=message_id, **about).id


def answer_of(session: Session, job_id: str) -> Message | None:
    """The answer that a job wrote."""
    return session.execute(select(Message).where(col(Message.job_id) == job_id)).scalar_one_or_none()


def cut_answer(session: Session, question_id: str, job_id: str, heard: str, model: str) -> str | None:
    """Let the answer to a question say what was heard of it, whether or not its job came to write it. Returns the id of
    the message; None where the question is gone."""
    question, answer = messages.get(session, question_id), answer_of(session, job_id)
    if question is None:
        return None
    if answer is None:
        answer = messages.add_answer(session, question, heard, message_id=new_id(), model=model, job_id=job_id)
    elif answer.content == heard:
        return answer.id
    else:
        session.execute(update(_messages).where(_messages.c.id == answer.id).values(content=heard))
    conversations.touch(session, question.conversation_id)
    return answer.id


def audio_of(session: Session, conversation_id: str) -> dict[str, str]:
    """message → the file that holds its sound. What `parts` say of files may have been imported from anywhere."""
    columns = (_files.c.message_id, _files.c.id)
    query = select(*columns).where(
        _files.c.conversation_id == conversation_id,
        _files.c.message_id.is_not(None),
        _files.c.file_type.startswith("audio/"),
    )
    return {row.message_id: row.id for row in session.execute(query.order_by(_files.c.id))}
