"""Questions about the ledger as a whole: what upkeep has to mend, and how full the queues are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Table, and_, delete, func, or_, select, update
from sqlmodel import Session, col

from config.queues import Kind
from config.settings import get_settings
from storage import files
from storage.jobs import TERMINAL, queued, running, serial_free
from storage.tables import Job, utcnow

_jobs: Table = Job.__table__  # type: ignore[attr-defined]

# An estimate for every job shown need not be read for every job shown.
MEAN_AGE_S = 1.0
_means: dict[str, tuple[float, float | None]] = {}

# --- upkeep -----------------------------------------------------------------------------------------------------------


def expired(session: Session, limit: int = 200) -> list[Job]:
    """Running jobs whose worker stopped renewing."""
    query = select(Job).where(running, col(Job.lease_until) < utcnow()).limit(limit)
    return list(session.execute(query).scalars())


def due(session: Session, queue: str, limit: int) -> list[Job]:
    """Queued jobs that were never sent, became due, or were sent so long ago that the message may be gone."""
    now = utcnow()
    stale = now - timedelta(seconds=get_settings().resend_after_s)
    query = (
        select(Job)
        .where(
            col(Job.queue) == queue,
            queued,
            or_(_jobs.c.run_after.is_(None), _jobs.c.run_after <= now),
            or_(_jobs.c.sent_at.is_(None), _jobs.c.sent_at < stale, _jobs.c.sent_at < _jobs.c.run_after),
            serial_free,
        )
        .order_by(col(Job.priority).desc(), col(Job.id))
        .limit(limit)
    )
    return list(session.execute(query).scalars())


def first(session: Session, queue: str) -> Job | None:
    """Who is next of those that may run now, sent or not."""
    due_now = or_(_jobs.c.run_after.is_(None), _jobs.c.run_after <= utcnow())
    query = select(Job).where(col(Job.queue) == queue, queued, due_now, serial_free)
    return session.execute(query.order_by(col(Job.priority).desc(), col(Job.id)).limit(1)).scalar_one_or_none()


def count_sent(session: Session, queue: str) -> int:
    """Queued jobs of which a message should be on the broker."""
    now = utcnow()
    query = (
        select(func.count())
        .select_from(_jobs)
        .where(
            _jobs.c.queue == queue,
            queued,
            _jobs.c.sent_at.is_not(None),
            or_(_jobs.c.run_after.is_(None), _jobs.c.run_after <= now),
        )
    )
    return session.execute(query).scalar_one()


def mark_sent(session: Session, job_ids: Sequence[str]) -> None:
    session.execute(update(_jobs).where(_jobs.c.id.in_(job_ids)).values(sent_at=utcnow()))


def purge(session: Session) -> int:
    """Forget jobs that ended long ago, and idempotency keys past their life. Returns jobs removed."""
    settings = get_settings()
    now = utcnow()
    session.execute(
        update(_jobs)
        .where(
            _jobs.c.idempotency_key.is_not(None), _jobs.c.created_at < now - timedelta(hours=settings.idempotency_hours)
        )
        .values(idempotency_key=None, request_hash=None)
    )
    old = and_(_jobs.c.status.in_(TERMINAL), _jobs.c.finished_at < now - timedelta(days=settings.job_retention_days))
    return len(session.execute(delete(_jobs).where(old).returning(_jobs.c.id)).all())


_READ_BLOBS = (Kind.IMPORT.value, Kind.VOICE.value, Kind.TRANSCRIBE.value)


def needed_blobs(session: Session) -> set[str]:
    """Digests of files that lie here, of uploads that a job may still read (it has not succeeded, so it runs or can be
    retried), and of what was spoken to be fetched, as long as its job is there."""
    reads = and_(_jobs.c.kind.in_(_READ_BLOBS), _jobs.c.status != "succeeded")
    query = select(_jobs.c.input, _jobs.c.checkpoint, _jobs.c.result).where(
        or_(reads, _jobs.c.kind == Kind.SPEAK.value)
    )
    kept = (body.get("blob") for row in session.execute(query) for body in row if body)
    return {digest for digest in kept if digest} | files.digests_on_disk(session)


def recently_failed(session: Session, serial_key: str, within_s: float) -> bool:
    since = utcnow() - timedelta(seconds=within_s)
    query = (
        select(_jobs.c.id)
        .where(_jobs.c.serial_key == serial_key, _jobs.c.status == "failed", _jobs.c.finished_at > since)
        .limit(1)
    )
    return session.execute(query).first() is not None


# --- questions about the queue ---------------------------------------------------------------------------------------


def depths(session: Session) -> dict[str, dict[str, int]]:
    """queue → {queued, running}"""
    result: dict[str, dict[str, int]] = {}
    for status, condition in (("queued", queued), ("running", running)):
        query = select(_jobs.c.queue, func.count()).where(condition).group_by(_jobs.c.queue)
        for queue, number in session.execute(query):
            result.setdefault(queue, {"queued": 0, "running": 0})[status] = number
    return result


def position(session: Session, job: Job) -> int:
    """How many queued jobs go before this one, plus one."""
    ahead = or_(_jobs.c.priority > job.priority, and_(_jobs.c.priority == job.priority, _jobs.c.id < job.id))
    query = select(func.count()).select_from(_jobs).where(_jobs.c.queue == job.queue, queued, ahead)
    return session.execute(query).scalar_one() + 1


def mean_run_s(session: Session, kind: str) -> float | None:
    """Mean seconds the last twenty finished jobs of this kind ran, at most MEAN_AGE_S old; None before the first."""
    known = _means.get(kind)
    if known is None or known[1] is None or time.monotonic() - known[0] > MEAN_AGE_S:
        known = _means[kind] = (time.monotonic(), _read_mean_run_s(session, kind))
    return known[1]


def _read_mean_run_s(session: Session, kind: str) -> float | None:
    query = (
        select(_jobs.c.started_at, _jobs.c.finished_at)
        .where(_jobs.c.kind == kind, _jobs.c.status == "succeeded")
        .order_by(_jobs.c.id.desc())
        .limit(20)
    )
    spans = [
        (finished - started).total_seconds() for started, finished in session.execute(query) if started and finished
    ]
    return sum(spans) / len(spans) if spans else None


def serial_blocker(session: Session, job: Job) -> str | None:
    """Id of the job this one waits for, if any."""
    if job.serial_key is None:
        return None
    ahead = or_(running, and_(queued, _jobs.c.id < job.id))
    query = select(_jobs.c.id).where(_jobs.c.serial_key == job.serial_key, _jobs.c.id != job.id, ahead).limit(1)
    return session.execute(query).scalar_one_or_none()
