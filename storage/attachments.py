"""Which files a question was asked with."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Table, exists, select, update
from sqlmodel import Session, col

from storage import files
from storage.project_tables import FileAttachment
from storage.tables import Job, Message

_files: Table = FileAttachment.__table__  # type: ignore[attr-defined]


def claim(session: Session, question: Message) -> None:
    """Files that were brought to the conversation since its last question belong to this one. The caller holds the
    conversation's row lock."""
    unclaimed = (_files.c.conversation_id == question.conversation_id, _files.c.message_id.is_(None))
    columns = (_files.c.id, _files.c.filename, _files.c.file_type)
    statement = update(_files).where(*unclaimed).values(message_id=question.id).returning(*columns)
    found = sorted(session.execute(statement).all())
    if found:
        told = [{"id": row.id, "name": row.filename, "mime_type": row.file_type} for row in found]
        question.parts = {**question.parts, "attachments": told}
        session.add(question)


def of_messages(session: Session, message_ids: Collection[str]) -> dict[str, list[FileAttachment]]:
    """By message, in the order in which they came."""
    found: dict[str, list[FileAttachment]] = {}
    query = select(FileAttachment).where(col(FileAttachment.message_id).in_(list(message_ids)))
    for file in session.execute(query.order_by(col(FileAttachment.id))).scalars():
        found.setdefault(file.message_id or "", []).append(file)
    return found


def are_being_read(session: Session, file_ids: Collection[str]) -> bool:
    """Whether a job is still to find out what is in one of them."""
    keys = [files.serial_key(file_id) for file_id in file_ids]
    active = exists().where(col(Job.serial_key).in_(keys), col(Job.status).in_(("queued", "running")))
    return bool(session.execute(select(active)).scalar_one())
