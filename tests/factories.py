"""What tests need in the database before they begin, and rows as they stand afterwards; a transaction per call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import update
from sqlmodel import col, select

from config.queues import Kind
from storage import conversations, jobs, messages
from storage.database import reading, transaction
from storage.jobs import ClaimedJob, NewJob
from storage.tables import LOCAL_OWNER, Conversation, Job, Message, User

T = TypeVar("T")
JANUARY = datetime(2025, 1, 1, 12, 0, tzinfo=UTC)


def at_once(*calls: Callable[[], T]) -> list[T]:
    """Run the calls in threads that start together; their results in order. An error of one is raised."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


# --- people and jobs


def owner(name: str = "somebody else") -> str:
    with transaction() as session:
        user = User(name=name)
        session.add(user)
        return user.id


def job(kind: Kind = Kind.NOOP, owner_id: str = LOCAL_OWNER, **fields: Any) -> str:
    """A queued job; `fields` are NewJob's."""
    with transaction() as session:
        return jobs.add(session, NewJob(kind, owner_id, **fields)).id


def claim(job_id: str, worker: str = "worker") -> ClaimedJob | None:
    with transaction() as session:
        return jobs.claim(session, job_id, worker)


def running(kind: Kind = Kind.NOOP, **fields: Any) -> ClaimedJob:
    row = claim(job(kind, **fields))
    assert row is not None
    return row


def finish(job_id: str, attempt: int = 1, status: str = "succeeded", event_seq: int = 3, **values: Any) -> list[str]:
    with transaction() as session:
        return jobs.finish(session, job_id, attempt, status, event_seq=event_seq, **values)


def put_back(job_id: str, attempt: int = 1, event_seq: int = 2, delay_s: float = 0, failed: bool = True) -> None:
    with transaction() as session:
        jobs.put_back(session, job_id, attempt, event_seq=event_seq, delay_s=delay_s, failed=failed, error=None)


def load(job_id: str) -> Job:
    with reading() as session:
        row = session.get(Job, job_id)
        assert row is not None
        return row


def statuses(job_ids: Sequence[str]) -> list[str]:
    return [load(job_id).status for job_id in job_ids]


def change(job_id: str, **values: Any) -> None:
    """Make a job look as if time had passed or something had happened to it."""
    with transaction() as session:
        session.execute(update(Job).where(col(Job.id) == job_id).values(**values))


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


# --- conversations


def conversation(owner_id: str = LOCAL_OWNER, title: str = "A conversation") -> str:
    with transaction() as session:
        return conversations.create(session, owner_id, title).id


def question(conversation_id: str, text: str = "Why?", owner_id: str = LOCAL_OWNER) -> Message:
    with transaction() as session:
        row = conversations.get(session, conversation_id, owner_id, lock=True)
        return messages.add_question(session, row, text)


def shown(conversation_id: str) -> list[str]:
    """The texts of the shown path, in reading order."""
    with reading() as session:
        return [message.content for message in messages.path(session, conversation_id)]


def all_messages(conversation_id: str) -> list[Message]:
    with reading() as session:
        return messages.tree(session, conversation_id)


def all_conversations(owner_id: str = LOCAL_OWNER) -> list[Conversation]:
    with reading() as session:
        query = select(Conversation).where(col(Conversation.owner_id) == owner_id).order_by(col(Conversation.id))
        return list(session.exec(query))


def all_jobs(kind: Kind | None = None) -> list[Job]:
    with reading() as session:
        rows = session.exec(select(Job).order_by(col(Job.id))).all()
        return [row for row in rows if kind is None or row.kind == kind.value]


def imported(
    native_id: str = "c1", turns: Sequence[str] = ("hello", "hi"), *, version: str = "", **fields: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `conversations.upsert` takes: a straight conversation. `version` makes equal turns count as changed."""
    rows = [
        imported_message(f"{native_id}-{at}", f"{native_id}-{at - 1}" if at else None, at, text)
        for at, text in enumerate(turns)
    ]
    return imported_conversation(native_id, rows, version=version, **fields), rows


def imported_conversation(
    native_id: str, rows: Sequence[dict[str, Any]], *, version: str = "", **fields: Any
) -> dict[str, Any]:
    said = "|".join(f"{row['native_id']} {row['content']} {row['on_path']}" for row in rows)
    return {
        "source": "chatgpt",
        "native_id": native_id,
        "url": None,
        "title": "Imported",
        "model": "gpt-4o",
        "is_archived": False,
        "extra": {},
        "created_at": JANUARY,
        "updated_at": JANUARY,
        "content_hash": f"{fields.get('title', '')}{version}:{said}",
    } | fields


def imported_message(native_id: str, parent: str | None, position: int, text: str, **fields: Any) -> dict[str, Any]:
    return {
        "native_id": native_id,
        "parent_native_id": parent,
        "position": position,
        "on_path": True,
        "role": "assistant" if position % 2 else "user",
        "author_name": None,
        "content": text,
        "visibility": "visible",
        "model": None,
        "parts": {},
        "created_at": JANUARY + timedelta(seconds=position),
    } | fields
