"""Uploaded files: rows here, bytes by their digest on disk (`blobs`) or by their key in the bucket (`object_store`)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, delete, func, or_, select, update
from sqlmodel import Session, col

from config.errors import NotFound
from storage import conversations, endings, gone
from storage.ids import new_id
from storage.project_tables import FileAttachment
from storage.tables import Conversation, Job, utcnow

_files: Table = FileAttachment.__table__  # type: ignore[attr-defined]


def add(session: Session, conversation: Conversation, **values: Any) -> FileAttachment:
    """`values`: filename, file_size, file_type, digest. The caller holds the conversation's row lock."""
    file = FileAttachment(id=new_id(), owner_id=conversation.owner_id, conversation_id=conversation.id, **values)
    session.add(file)
    conversation.has_attachments, conversation.updated_at = True, utcnow()
    session.add(conversation)
    session.flush()
    return file


def find(session: Session, file_id: str) -> FileAttachment | None:
    """Whoever it belongs to."""
    return session.execute(select(FileAttachment).where(col(FileAttachment.id) == file_id)).scalar_one_or_none()


def get(session: Session, file_id: str, owner_id: str) -> FileAttachment:
    """Raises NotFound, also for somebody else's."""
    found = find(session, file_id)
    if found is None or found.owner_id != owner_id:
        raise NotFound(f"There is no file {file_id[:64]}.")
    return found


def page(session: Session, conversation_id: str, *, limit: int, offset: int) -> tuple[list[FileAttachment], int]:
    """In the order in which they came, and how many there are in all."""
    theirs = _files.c.conversation_id == conversation_id
    total = session.execute(select(func.count()).select_from(_files).where(theirs)).scalar_one()
    query = select(FileAttachment).where(theirs).order_by(col(FileAttachment.id))
    return list(session.execute(query.limit(limit).offset(offset)).scalars()), total


def count(session: Session, owner_id: str) -> int:
    return session.execute(select(func.count()).select_from(_files).where(_files.c.owner_id == owner_id)).scalar_one()


def remove(session: Session, file_id: str, owner_id: str) -> None:
    """Raises NotFound, and Conflict where its conversation is locked."""
    file = get(session, file_id, owner_id)
    job = job_of(session, file_id)
    if job is not None:  # before the locks: a worker takes its job's row first, too
        endings.cancel(session, job.id, owner_id)
    if file.conversation_id is not None:
        conversations.open_for_writing(session, file.conversation_id, owner_id)
    removed = session.execute(delete(_files).where(_files.c.id == file_id).returning(_files.c.s3_key)).first()
    if removed is not None and removed.s3_key is not None:
        gone.note_object(session, removed.s3_key)
    if file.conversation_id is not None:
        gone.drop_chunks_of_file(session, file.conversation_id, file_id)
        conversations.note_attachments(session, file.conversation_id)
        conversations.touch(session, file.conversation_id)


def write(session: Session, file_id: str, **values: Any) -> bool:
    """FileAttachment columns; False when the file is gone."""
    statement = update(_files).where(_files.c.id == file_id).values(**values).returning(_files.c.id)
    return session.execute(statement).first() is not None


# --- the job that reads it


def serial_key(file_id: str) -> str:
    return f"file:{file_id}"


def job_of(session: Session, file_id: str) -> Job | None:
    query = select(Job).where(col(Job.serial_key) == serial_key(file_id)).order_by(col(Job.id).desc())
    return session.execute(query.limit(1)).scalar_one_or_none()


# --- what others ask


def texts(session: Session, conversation_id: str) -> list[tuple[str, str]]:
    """(file id, what there is to be found in it)."""
    columns = (_files.c.id, _files.c.extracted_text, _files.c.summary_text)
    query = select(*columns).where(
        _files.c.conversation_id == conversation_id,
        or_(_files.c.extracted_text.is_not(None), _files.c.summary_text.is_not(None)),
    )
    return [
        (row.id, "\n\n".join(part for part in (row.extracted_text, row.summary_text) if part))
        for row in session.execute(query.order_by(_files.c.id))
    ]


def unstored(session: Session, limit: int) -> list[FileAttachment]:
    """Those that were read and are not in a bucket."""
    query = select(FileAttachment).where(col(FileAttachment.s3_key).is_(None), col(FileAttachment.read_at).is_not(None))
    return list(session.execute(query.order_by(col(FileAttachment.id)).limit(limit)).scalars())


def digests_on_disk(session: Session) -> set[str]:
    """Blobs that a file has and the bucket has not."""
    return set(session.execute(select(_files.c.digest).where(_files.c.s3_key.is_(None))).scalars())
