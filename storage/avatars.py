"""What the two faces of FAITHH show: what a person's chat jobs do, unless a hand says otherwise for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import Table, select
from sqlmodel import Session

from config.queues import Kind
from storage import jobs
from storage.connections import redis_client
from storage.events import parse_entry, stream_key
from storage.jobs import queued, running
from storage.tables import Job

# How long a state that was set by hand stands.
OVERRIDE_S = 30
Activity = Literal["idle", "thinking", "responding"]
_MOST_RUNNING = 8  # a person's answers at once that are looked at
_jobs: Table = Job.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Work:
    """`running` are ids of jobs; `last_active` is None for who never asked anything."""

    is_waiting: bool
    running: tuple[str, ...]
    last_active: datetime | None


def work_of(session: Session, owner_id: str) -> Work:
    mine = (_jobs.c.owner_id == owner_id, _jobs.c.kind == Kind.CHAT.value)
    now_running = select(_jobs.c.id).where(running, *mine).limit(_MOST_RUNNING)
    waits = select(_jobs.c.id).where(queued, _jobs.c.queue == "chat", *mine).limit(1)
    last = next(iter(jobs.page(session, owner_id, kind=Kind.CHAT, status=None, before=None, limit=1)), None)
    times = (last.created_at, last.started_at, last.finished_at) if last is not None else ()
    return Work(
        session.execute(waits).first() is not None,
        tuple(session.execute(now_running).scalars()),
        max(filter(None, times), default=None),
    )


def activity(work: Work) -> Activity:
    """Raises redis.RedisError."""
    if any(_is_responding(job_id) for job_id in work.running):
        return "responding"
    return "thinking" if work.running or work.is_waiting else "idle"


def _is_responding(job_id: str) -> bool:
    """The row learns of the first token at the job's end; its log knows it at once."""
    newest: Any = redis_client().xrevrange(stream_key(job_id), count=1)
    return any(parse_entry(entry).type == "content" for entry in newest)


# --- by hand


def override(owner_id: str, character: str, state: dict[str, str]) -> None:
    """Shown to its owner in place of the real state, for OVERRIDE_S. Raises redis.RedisError."""
    redis_client().set(_key(owner_id, character), orjson.dumps(state), ex=OVERRIDE_S)


def overridden(owner_id: str, character: str) -> tuple[dict[str, str], int]:
    """The state set by hand, empty without one, and the seconds it still stands. Raises redis.RedisError."""
    pipe = redis_client().pipeline()
    pipe.get(_key(owner_id, character))
    pipe.ttl(_key(owner_id, character))
    state, seconds = pipe.execute()
    return (orjson.loads(state), max(seconds, 0)) if state is not None else ({}, 0)


def _key(owner_id: str, character: str) -> str:
    return f"bc:avatar:{owner_id}:{character}"
