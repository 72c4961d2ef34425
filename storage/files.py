"""Uploaded files: rows here, bytes by their digest on disk (`blobs`) or by their key in the bucket (`object_store`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Table, delete, func, or_, select, update
from sqlmodel import Session, col

from config.errors import NotFound
from config.settings import MIB
from storage import blobs, conversations, endings, gone, object_store
from storage.database import reading
from storage.ids import new_id
from storage.project_tables import FileAttachment
from storage.tables import Conversation, Job, utcnow

_files: Table = FileAttachment.__table__  # type: ignore[attr-defined]


def add(session: Session, conversation: Conversation, **values: Any) -> FileAttachment:
    """`values`: filename, file_size, file_type, digest. The caller holds the conversation's row lock."""
    conversation.updated_at = utcnow()
    return bring_back(session, conversation, **values)


def bring_back(session: Session, conversation: Conversation, **values: Any) -> FileAttachment:
    """`add` of what was there before, somewhere: the conversation does not count as changed by it."""
    given = {"id": new_id(), **values}
    file = FileAttachment(owner_id=conversation.owner_id, conversation_id=conversation.id, **given)
    conversation.has_attachments = True
    session.add_all([file, conversation])
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
        conversations.open_for_writing(session, file.conversation_id, owner_id).updated_at = utcnow()
    removed = session.execute(delete(_files).where(_files.c.id == file_id).returning(_files.c.s3_key)).first()
    if removed is not None and removed.s3_key is not None:
        gone.note_object(session, removed.s3_key)
    if file.conversation_id is not None:
        gone.drop_chunks_of_file(session, file.conversation_id, file_id)
        conversations.note_attachments(session, file.conversation_id)
        conversations.reindex(session, file.conversation_id)


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


def content(file_id: str) -> Iterator[bytes]:
    """Its bytes, a piece at a time, wherever they lie now. Raises NotFound, and what `object_store.Bucket` does."""
    with reading() as session:
        file = find(session, file_id)
    if file is None:
        raise NotFound("The file was deleted.")
    if file.s3_key is not None:
        yield from object_store.require_bucket().read(file.s3_key)
        return
    with blobs.path(file.digest).open("rb") as opened:
        while piece := opened.read(MIB):
            yield piece


class Known(NamedTuple):
    id: str
    file_type: str


def known(session: Session, owner_id: str, source: str, native_id: str) -> dict[tuple[str, str], Known]:
    """By (digest, name): the files that an imported conversation has already."""
    query = select(_files.c.digest, _files.c.filename, _files.c.id, _files.c.file_type)
    query = query.join(Conversation, col(Conversation.id) == _files.c.conversation_id)
    identity = (col(Conversation.source) == source, col(Conversation.native_id) == native_id)
    found = session.execute(query.where(col(Conversation.owner_id) == owner_id, *identity))
    return {(row.digest, row.filename): Known(row.id, row.file_type) for row in found}


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
