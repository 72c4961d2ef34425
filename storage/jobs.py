"""The job ledger: rows are the truth, messages on a queue only say that there is something to look at.

    queued ──claim──▶ running ──finish──▶ succeeded | failed | cancelled
       ▲                 │
       └──── put_back ───┘   (lost lease, retryable error, clean stop of the worker)

Every write of a worker names the attempt it was given by `claim`; a worker that lost its lease writes nothing.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Table, and_, delete, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from config.errors import Conflict, NotFound, QueueFull, Unusable
from config.queues import DEFAULT_PRIORITY, KINDS, Kind
from config.settings import get_settings
from storage.database import is_duplicate
from storage.ids import new_id
from storage.tables import Job, utcnow

TERMINAL = ("succeeded", "failed", "cancelled")
_jobs: Table = Job.__table__  # type: ignore[attr-defined]
_other = _jobs.alias("other")


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a client asked for. `request_hash` belongs to `idempotency_key`: same key, other request is refused."""

    kind: Kind
    owner_id: str
    input: dict[str, Any] = field(default_factory=dict)
    priority: int = DEFAULT_PRIORITY
    serial_key: str | None = None
    conversation_id: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    webhook_url: str | None = None
    run_after: datetime | None = None


class LeaseLost(Exception):
    """Another attempt owns the job now; whatever this one was about to write must not be written."""


def hash_request(*parts: Any) -> str:
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


# --- coming in ------------------------------------------------------------------------------------------------------


def find_idempotent(session: Session, owner_id: str, key: str, request_hash: str) -> Job | None:
    """The job an earlier request with this key made. Raises Unusable when that request was another one."""
    row = session.execute(
        select(Job).where(col(Job.owner_id) == owner_id, col(Job.idempotency_key) == key)
    ).scalar_one_or_none()
    if row is not None and row.request_hash != request_hash:
        raise Unusable("This Idempotency-Key was used before with a different request; use a new key.")
    return row


def check_room(session: Session, queue: str, owner_id: str) -> None:
    """Raises QueueFull (429, Retry-After in seconds) when the queue, or the caller's share of it, is at its bound."""
    settings = get_settings()
    for limit, whose, words in (
        (settings.queue_limit, (), f"The {queue} queue is full"),
        (
            settings.owner_queue_limit,
            (_jobs.c.owner_id == owner_id,),
            f"You have {settings.owner_queue_limit} jobs waiting in the {queue} queue",
        ),
    ):
        waiting = (
            select(_jobs.c.id).where(_jobs.c.queue == queue, _jobs.c.status == "queued", *whose).limit(limit).subquery()
        )
        if (session.execute(select(func.count()).select_from(waiting)).scalar_one()) >= limit:
            raise QueueFull(f"{words}; try again later.", headers={"Retry-After": "10"})


def add(session: Session, new: NewJob) -> Job:
    """Write the job's row. The caller's transaction also holds the domain rows it belongs to."""
    spec = KINDS[new.kind]
    job = Job(
        id=new_id(),
        owner_id=new.owner_id,
        kind=new.kind.value,
        queue=spec.queue,
        priority=new.priority,
        input=new.input,
        max_failures=spec.max_failures,
        serial_key=new.serial_key,
        conversation_id=new.conversation_id,
        idempotency_key=new.idempotency_key,
        request_hash=new.request_hash,
        webhook_url=new.webhook_url,
        run_after=new.run_after,
        sent_at=utcnow(),  # it is sent right after the commit; upkeep notices when it was not
    )
    session.add(job)
    return job


def add_unless_active(session: Session, new: NewJob) -> Job | None:
    """`add`, unless a job with the same serial key waits or runs; then None."""
    active = (
        select(_jobs.c.id)
        .where(_jobs.c.serial_key == new.serial_key, _jobs.c.status.in_(("queued", "running")))
        .limit(1)
    )
    return None if session.execute(active).first() else add(session, new)


# --- a worker's writes ------------------------------------------------------------------------------------------------


def _serial_free(now: datetime) -> Any:
    """No job of the same serial key runs, and none that came earlier waits."""
    ahead = or_(_other.c.status == "running", and_(_other.c.status == "queued", _other.c.id < _jobs.c.id))
    return or_(
        _jobs.c.serial_key.is_(None),
        ~exists().where(_other.c.serial_key == _jobs.c.serial_key, _other.c.id != _jobs.c.id, ahead),
    )


def claim(session: Session, job_id: str, worker: str) -> Job | None:
    """Take a queued job that is due and not behind another; None when it is not to be had (a duplicate delivery)."""
    now = utcnow()
    statement = (
        update(Job)
        .where(
            col(Job.id) == job_id,
            col(Job.status) == "queued",
            or_(_jobs.c.run_after.is_(None), _jobs.c.run_after <= now),
            _serial_free(now),
        )
        .values(
            status="running",
            attempt=_jobs.c.attempt + 1,
            worker=worker,
            lease_until=now + timedelta(seconds=get_settings().lease_s),
            started_at=func.coalesce(_jobs.c.started_at, now),
            run_after=None,
        )
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    try:
        return session.execute(statement).scalar_one_or_none()
    except IntegrityError as error:
        if is_duplicate(error):  # another worker claimed a job of the same serial key at this very moment
            session.rollback()
            return None
        raise


def renew(session: Session, leases: Sequence[tuple[str, int, int, dict[str, Any] | None]]) -> dict[str, bool]:
    """Prolong leases given as (job id, attempt, last event number, progress). Returns id → cancel requested for those
    still held; an id that is missing has been lost."""
    until = utcnow() + timedelta(seconds=get_settings().lease_s)
    held: dict[str, bool] = {}
    for job_id, attempt, event_seq, progress in leases:
        row = session.execute(
            update(_jobs)
            .where(_jobs.c.id == job_id, _jobs.c.attempt == attempt, _jobs.c.status == "running")
            .values(lease_until=until, event_seq=event_seq, progress=progress)
            .returning(_jobs.c.cancel_requested)
        ).first()
        if row is not None:
            held[job_id] = row[0]
    return held


def fence(session: Session, job_id: str, attempt: int, **values: Any) -> None:
    """Assert, inside the transaction that writes an effect, that this attempt still owns the job; record `values`.
    Raises LeaseLost, which rolls the effect back."""
    found = session.execute(
        update(_jobs)
        .where(_jobs.c.id == job_id, _jobs.c.attempt == attempt, _jobs.c.status == "running")
        .values(lease_until=utcnow() + timedelta(seconds=get_settings().lease_s), **values)
        .returning(_jobs.c.id)
    ).first()
    if found is None:
        raise LeaseLost(job_id)


def finish(session: Session, job_id: str, attempt: int, status: str, *, event_seq: int, **values: Any) -> list[str]:
    """End a running job in the same transaction as its effect. Returns ids of jobs to be sent after the commit."""
    row = session.execute(
        update(_jobs)
        .where(_jobs.c.id == job_id, _jobs.c.attempt == attempt, _jobs.c.status == "running")
        .values(status=status, finished_at=utcnow(), lease_until=None, event_seq=event_seq, **values)
        .returning(_jobs.c.serial_key, _jobs.c.webhook_url, _jobs.c.owner_id)
    ).first()
    if row is None:
        raise LeaseLost(job_id)
    return _after_end(session, job_id, row.serial_key, row.webhook_url, row.owner_id)


def _after_end(
    session: Session, job_id: str, serial_key: str | None, webhook_url: str | None, owner_id: str
) -> list[str]:
    """What a job's end sets going, in the same transaction: the next of its line, and the word to its client."""
    started = _next_in_line(session, serial_key)
    if webhook_url is not None:
        webhook = NewJob(Kind.WEBHOOK, owner_id, {"job_id": job_id, "url": webhook_url})
        started.append(add(session, webhook).id)
    return started


def _next_in_line(session: Session, serial_key: str | None) -> list[str]:
    if serial_key is None:
        return []
    query = (
        select(_jobs.c.id)
        .where(_jobs.c.serial_key == serial_key, _jobs.c.status == "queued")
        .order_by(_jobs.c.id)
        .limit(1)
    )
    return list(session.execute(query).scalars())


def put_back(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    event_seq: int,
    delay_s: float,
    failed: bool,
    error: dict[str, Any] | None,
) -> None:
    """Return a running job to the queue; `failed` counts against `max_failures`."""
    now = utcnow()
    found = session.execute(
        update(_jobs)
        .where(_jobs.c.id == job_id, _jobs.c.attempt == attempt, _jobs.c.status == "running")
        .values(
            status="queued",
            lease_until=None,
            worker=None,
            failures=_jobs.c.failures + (1 if failed else 0),
            event_seq=event_seq,
            error=error,
            run_after=now + timedelta(seconds=delay_s) if delay_s else None,
            sent_at=None,
        )
        .returning(_jobs.c.id)
    ).first()
    if found is None:
        raise LeaseLost(job_id)


def backoff_s(failures: int) -> float:
    """Seconds before the next try: doubling, bounded, ±50 % so that retries do not arrive together."""
    settings = get_settings()
    return min(settings.retry_max_s, settings.retry_base_s * 2.0 ** min(failures, 16)) * random.uniform(0.5, 1.5)  # noqa: S311


# --- a person's writes ------------------------------------------------------------------------------------------------


def get(session: Session, job_id: str, owner_id: str) -> Job:
    row = session.execute(select(Job).where(col(Job.id) == job_id, col(Job.owner_id) == owner_id)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id[:64]}.")
    return row


def page(
    session: Session, owner_id: str, *, kind: str | None, status: str | None, before: str | None, limit: int
) -> list[Job]:
    """Newest first; `before` is the last id of the page before."""
    query = select(Job).where(col(Job.owner_id) == owner_id)
    if kind:
        query = query.where(col(Job.kind) == kind)
    if status:
        query = query.where(col(Job.status) == status)
    if before:
        query = query.where(col(Job.id) < before)
    return list(session.execute(query.order_by(col(Job.id).desc()).limit(limit)).scalars())


def count(session: Session, owner_id: str, *, kind: str | None, status: str | None) -> int:
    query = select(func.count()).select_from(_jobs).where(_jobs.c.owner_id == owner_id)
    if kind:
        query = query.where(_jobs.c.kind == kind)
    if status:
        query = query.where(_jobs.c.status == status)
    return session.execute(query).scalar_one()


def cancel(session: Session, job_id: str, owner_id: str) -> tuple[Job, list[str]]:
    """End a queued job, or ask a running one to stop. Cancelling an ended job changes nothing.
    Returns the job and the ids it unblocked."""
    ended = session.execute(
        update(Job)
        .where(col(Job.id) == job_id, col(Job.owner_id) == owner_id, col(Job.status) == "queued")
        .values(
            status="cancelled",
            cancel_requested=True,
            finished_at=utcnow(),
            event_seq=_jobs.c.event_seq + 1,
            error=None,
            run_after=None,
        )
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).scalar_one_or_none()
    if ended is not None:
        return ended, _after_end(session, ended.id, ended.serial_key, ended.webhook_url, ended.owner_id)
    asked = session.execute(
        update(Job)
        .where(col(Job.id) == job_id, col(Job.owner_id) == owner_id, col(Job.status) == "running")
        .values(cancel_requested=True)
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).scalar_one_or_none()
    return (asked or get(session, job_id, owner_id)), []


def replay(session: Session, job_id: str, owner_id: str) -> Job:
    """Queue a failed or cancelled job again; it goes on where it stopped. Raises Conflict for other states."""
    job = get(session, job_id, owner_id)
    row = session.execute(
        update(Job)
        .where(col(Job.id) == job_id, col(Job.status).in_(("failed", "cancelled")))
        .values(
            status="queued",
            cancel_requested=False,
            failures=0,
            error=None,
            finished_at=None,
            run_after=None,
            sent_at=utcnow(),
            event_seq=_jobs.c.event_seq + 1,
        )
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).scalar_one_or_none()
    if row is None:
        raise Conflict(f"Only a failed or cancelled job can be retried; this one is {job.status}.")
    return row


# --- upkeep -----------------------------------------------------------------------------------------------------------


def expired(session: Session, limit: int = 200) -> list[Job]:
    """Running jobs whose worker stopped renewing."""
    query = select(Job).where(col(Job.status) == "running", col(Job.lease_until) < utcnow()).limit(limit)
    return list(session.execute(query).scalars())


def due(session: Session, queue: str, limit: int) -> list[Job]:
    """Queued jobs that were never sent, became due, or were sent so long ago that the message may be gone."""
    now = utcnow()
    stale = now - timedelta(seconds=get_settings().resend_after_s)
    query = (
        select(Job)
        .where(
            col(Job.queue) == queue,
            col(Job.status) == "queued",
            or_(_jobs.c.run_after.is_(None), _jobs.c.run_after <= now),
            or_(_jobs.c.sent_at.is_(None), _jobs.c.sent_at < stale, _jobs.c.sent_at < _jobs.c.run_after),
            _serial_free(now),
        )
        .order_by(col(Job.priority).desc(), col(Job.id))
        .limit(limit)
    )
    return list(session.execute(query).scalars())


def count_sent(session: Session, queue: str) -> int:
    """Queued jobs of which a message should be on the broker."""
    now = utcnow()
    query = (
        select(func.count())
        .select_from(_jobs)
        .where(
            _jobs.c.queue == queue,
            _jobs.c.status == "queued",
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


def needed_blobs(session: Session) -> set[str]:
    """Digests of uploads that a job may still read: it has not succeeded, so it runs or can be retried."""
    query = select(_jobs.c.input).where(_jobs.c.kind == Kind.IMPORT.value, _jobs.c.status != "succeeded")
    return {digest for body in session.execute(query).scalars() if (digest := body.get("blob"))}


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
    query = select(_jobs.c.queue, _jobs.c.status, func.count()).where(_jobs.c.status.in_(("queued", "running")))
    for queue, status, number in session.execute(query.group_by(_jobs.c.queue, _jobs.c.status)):
        result.setdefault(queue, {"queued": 0, "running": 0})[status] = number
    return result


def position(session: Session, job: Job) -> int:
    """How many queued jobs go before this one, plus one."""
    ahead = or_(_jobs.c.priority > job.priority, and_(_jobs.c.priority == job.priority, _jobs.c.id < job.id))
    query = select(func.count()).select_from(_jobs).where(_jobs.c.queue == job.queue, _jobs.c.status == "queued", ahead)
    return session.execute(query).scalar_one() + 1


def mean_run_s(session: Session, kind: str) -> float | None:
    """Mean seconds the last twenty finished jobs of this kind ran; None before the first."""
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
    ahead = or_(_jobs.c.status == "running", and_(_jobs.c.status == "queued", _jobs.c.id < job.id))
    query = select(_jobs.c.id).where(_jobs.c.serial_key == job.serial_key, _jobs.c.id != job.id, ahead).limit(1)
    return session.execute(query).scalar_one_or_none()
