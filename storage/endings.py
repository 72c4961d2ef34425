"""Jobs that end without a worker: who runs them, who listens and who is next in line hear of it after the commit."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import redis
from sqlalchemy import Table, delete, select
from sqlmodel import Session

from config.logging import log
from config.queues import Kind
from storage import jobs, queue
from storage.connections import redis_client
from storage.database import after_commit
from storage.events import EventLog, terminal_fields
from storage.tables import Job, utcnow

_jobs: Table = Job.__table__  # type: ignore[attr-defined]


def cancel(session: Session, job_id: str, owner_id: str) -> Job:
    """End a queued job, or ask a running one to stop. Raises NotFound."""
    asked_at = utcnow()
    job, unblocked = jobs.cancel(session, job_id, owner_id)
    if job.status == "running":
        queue.announce_after_commit(session, job.id)
    queue.send_after_commit(session, [row for other in unblocked if (row := session.get(Job, other))])
    if job.status == "cancelled" and job.finished_at is not None and job.finished_at >= asked_at:
        after_commit(session, partial(log_end, job))
    return job


def end_those_of(session: Session, owner_id: str, conversation_ids: Collection[str]) -> None:
    """Cancel the jobs of conversations that go, and forget those that ended: their results say what was said. Call it
    before locking the conversations: a worker takes its job's row first, too."""
    theirs = (_jobs.c.owner_id == owner_id, _jobs.c.conversation_id.in_(conversation_ids))
    ended = (_jobs.c.status.in_(jobs.TERMINAL), _jobs.c.kind != Kind.IMPORT.value)
    forgotten = list(session.execute(delete(_jobs).where(*theirs, *ended).returning(_jobs.c.id)).scalars())
    forget_logs_after_commit(session, forgotten)
    active = select(_jobs.c.id).where(*theirs, _jobs.c.status.in_(("queued", "running"))).order_by(_jobs.c.id)
    for job_id in list(session.execute(active).scalars()):
        cancel(session, job_id, owner_id)


def forget_logs_after_commit(session: Session, job_ids: list[str]) -> None:
    """Of jobs that were deleted."""
    if job_ids:
        after_commit(session, partial(_forget_logs, job_ids))


def _forget_logs(job_ids: list[str]) -> None:
    try:
        EventLog(redis_client()).delete(job_ids)
    except redis.RedisError as error:
        log.warning("event logs are left to expire", jobs=len(job_ids), reason=type(error).__name__)


def log_end(job: Job) -> None:
    """The log's copy of an end or a new beginning that no worker writes; readers fall back on the row without it."""
    fields = terminal_fields(job.status, job.result, job.error) or {"type": "queued"}
    EventLog(redis_client()).try_append_end(job.id, job.attempt, fields, job.event_seq)
