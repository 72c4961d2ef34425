"""Summaries of conversations, and the parts they were made from, which the next one is made from again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Table, delete, insert, select
from sqlmodel import Session, col

from config.queues import Kind
from storage.tables import Conversation, Job, Summary, SummaryPart, utcnow

_parts: Table = SummaryPart.__table__  # type: ignore[attr-defined]
# Parameters of one statement, well below what any database takes.
_BATCH = 500


def find(session: Session, conversation_id: str, *, lock: bool = False) -> Summary | None:
    query = select(Summary).where(col(Summary.conversation_id) == conversation_id)
    return session.execute(query.with_for_update() if lock else query).scalar_one_or_none()


def write(session: Session, conversation_id: str, *, replace_edited: bool, **values: Any) -> bool:
    """Put a summariser's work (Summary columns: text, model, content_version, place) in place of an earlier summary.
    False where a person has written that and `replace_edited` is not set; then only `place` is noted. The caller has
    made sure that the conversation is there."""
    row = find(session, conversation_id, lock=True)
    if row is None:
        session.add(Summary(conversation_id=conversation_id, **values))
        session.flush()
        return True
    is_kept = row.is_edited and not replace_edited
    for name, value in ({"place": values["place"]} if is_kept else {**values, "is_edited": False}).items():
        setattr(row, name, value)
    if not is_kept:
        row.updated_at = utcnow()
    session.add(row)
    session.flush()
    return not is_kept


def edit(session: Session, conversation: Conversation, text: str) -> Summary:
    """A person's words. They speak of the conversation as it is now. The caller holds the conversation's row lock."""
    version = conversation.content_version
    row = find(session, conversation.id, lock=True)
    if row is None:
        row = Summary(conversation_id=conversation.id, text=text, content_version=version)
    row.text, row.is_edited, row.content_version, row.updated_at = text, True, version, utcnow()
    session.add(row)
    session.flush()
    return row


def parts(session: Session, conversation_id: str) -> dict[str, str]:
    """Digest → text of every part that is kept."""
    query = select(_parts.c.digest, _parts.c.text).where(_parts.c.conversation_id == conversation_id)
    return {row.digest: row.text for row in session.execute(query)}


def keep_parts(session: Session, conversation_id: str, new: Mapping[str, str]) -> None:
    """Add parts; one that is kept already stays."""
    known = _digests(session, conversation_id)
    rows = [
        {"conversation_id": conversation_id, "digest": digest, "text": text, "created_at": utcnow()}
        for digest, text in new.items()
        if digest not in known
    ]
    if rows:
        session.execute(insert(_parts), rows)


def drop_parts(session: Session, conversation_id: str, *, but: Collection[str]) -> None:
    """Forget the parts of which no summary is made any more."""
    gone = sorted(_digests(session, conversation_id) - set(but))
    mine = _parts.c.conversation_id == conversation_id
    for start in range(0, len(gone), _BATCH):
        session.execute(delete(_parts).where(mine, _parts.c.digest.in_(gone[start : start + _BATCH])))


def _digests(session: Session, conversation_id: str) -> set[str]:
    return set(session.execute(select(_parts.c.digest).where(_parts.c.conversation_id == conversation_id)).scalars())


def job_of(session: Session, conversation_id: str) -> Job | None:
    """The latest job that is to write a summary of this conversation, or is about it."""
    query = (
        select(Job)
        .where(
            col(Job.conversation_id) == conversation_id,
            col(Job.kind) == Kind.SUMMARIZE.value,
            col(Job.status).in_(("queued", "running")),
        )
        .order_by(col(Job.id).desc())
        .limit(1)
    )
    return session.execute(query).scalar_one_or_none()
