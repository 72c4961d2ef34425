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
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Row, Table, and_, bindparam, exists, func, insert, literal_column, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate
from sqlmodel import Session, col

from config.errors import Conflict, NotFound, QueueFull, Unusable
from config.queues import DEFAULT_PRIORITY, KINDS, Kind
from config.settings import get_settings
from storage.database import is_duplicate
from storage.ids import new_id
from storage.tables import Job, UtcDateTime, utcnow

TERMINAL = ("succeeded", "failed", "cancelled")
_jobs: Table = Job.__table__  # type: ignore[attr-defined]
_other = _jobs.alias("other")

# Literals, not parameters: only then does SQLite see that a partial index serves the query.
queued = _jobs.c.status == literal_column("'queued'")
running = _jobs.c.status == literal_column("'running'")


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


def find_keyed(session: Session, owner_id: str, key: str) -> Job | None:
    """The job that was accepted under this Idempotency-Key."""
    query = select(Job).where(col(Job.owner_id) == owner_id, col(Job.idempotency_key) == key)
    return session.execute(query).scalar_one_or_none()


def find_idempotent(session: Session, owner_id: str, key: str, request_hash: str) -> Job | None:
    """The job an earlier request with this key made. Raises Unusable when that request was another one."""
    row = find_keyed(session, owner_id, key)
    if row is not None and row.request_hash != request_hash:
        raise Unusable("This Idempotency-Key was used before with a different request; use a new key.")
    return row


_waiting = select(_jobs.c.id).where(_jobs.c.queue == bindparam("queue"), queued)
_LIMITED = _waiting.limit(bindparam("most"))
_COUNT_ALL = select(func.count()).select_from(_LIMITED.subquery())
_COUNT_OWN = select(func.count()).select_from(_LIMITED.where(_jobs.c.owner_id == bindparam("owner")).subquery())


def check_room(session: Session, queue: str, owner_id: str) -> None:
    """Raises QueueFull (429, Retry-After in seconds) when the queue, or the caller's share of it, is at its bound."""
    settings = get_settings()
    everyone, own = settings.queue_limit, settings.owner_queue_limit
    if session.execute(_COUNT_ALL, {"queue": queue, "most": everyone}).scalar_one() >= everyone:
        raise QueueFull(f"The {queue} queue is full; try again later.", headers={"Retry-After": "10"})
    if session.execute(_COUNT_OWN, {"queue": queue, "owner": owner_id, "most": own}).scalar_one() >= own:
        raise QueueFull(
            f"You have {own} jobs waiting in the {queue} queue; let some finish.", headers={"Retry-After": "10"}
        )


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
    session.execute(_INSERT, {column.name: getattr(job, column.name) for column in _jobs.columns})
    return job


_INSERT = insert(_jobs)


def add_unless_active(session: Session, new: NewJob) -> Job | None:
    """`add`, unless a job with the same serial key waits or runs; then None."""
    active = (
        select(_jobs.c.id)
        .where(_jobs.c.serial_key == new.serial_key, _jobs.c.status.in_(("queued", "running")))
        .limit(1)
    )
    return None if session.execute(active).first() else add(session, new)


# --- a worker's writes ------------------------------------------------------------------------------------------------

# A claimed job as the worker sees it: Job's columns as read-only attributes (building an entity would cost as much
# again as the claim).
ClaimedJob = Row[Any]

_ahead = or_(_other.c.status == "running", and_(_other.c.status == "queued", _other.c.id < _jobs.c.id))
# No job of the same serial key runs, and no earlier one waits.
serial_free = or_(
    _jobs.c.serial_key.is_(None),
    ~exists().where(_other.c.serial_key == _jobs.c.serial_key, _other.c.id != _jobs.c.id, _ahead),
)

# The statements of every job's life are built once: building them again costs more than running them.
_held = (
    _jobs.c.id == bindparam("job_id"),
    _jobs.c.attempt == bindparam("held_attempt"),
    running,
)
_CLAIM = (
    update(_jobs)
    .where(
        _jobs.c.id == bindparam("job_id"),
        queued,
        or_(_jobs.c.run_after.is_(None), _jobs.c.run_after <= bindparam("now", type_=UtcDateTime)),
        serial_free,
    )
    .values(
        status="running",
        attempt=_jobs.c.attempt + 1,
        worker=bindparam("by_worker"),
        lease_until=bindparam("until", type_=UtcDateTime),
        started_at=func.coalesce(_jobs.c.started_at, bindparam("now", type_=UtcDateTime)),
        run_after=None,
    )
    .returning(*_jobs.c)
)
_RENEW = (
    update(_jobs)
    .where(*_held)
    .values(lease_until=bindparam("until"), event_seq=bindparam("seq"), progress=bindparam("reported"))
    .returning(_jobs.c.cancel_requested)
)


@cache
def _ending(names: tuple[str, ...]) -> ReturningUpdate[Any]:
    """The end of a job that sets these columns; there are a handful of such sets."""
    values = {name: bindparam(f"new_{name}", type_=_jobs.c[name].type) for name in names}
    return (
        update(_jobs).where(*_held).values(values).returning(_jobs.c.serial_key, _jobs.c.webhook_url, _jobs.c.owner_id)
    )


def _lease_end() -> datetime:
    return utcnow() + timedelta(seconds=get_settings().lease_s)


def claim(session: Session, job_id: str, worker: str) -> ClaimedJob | None:
    """Take a queued job that is due and not behind another; None when it is not to be had (a duplicate delivery)."""
    parameters = {"job_id": job_id, "now": utcnow(), "by_worker": worker, "until": _lease_end()}
    try:
        return session.execute(_CLAIM, parameters).one_or_none()
    except IntegrityError as error:
        if is_duplicate(error):  # another worker claimed a job of the same serial key at this very moment
            session.rollback()
            return None
        raise


def renew(session: Session, leases: Sequence[tuple[str, int, int, dict[str, Any] | None]]) -> dict[str, bool]:
    """Prolong leases given as (job id, attempt, last event number, progress). Returns id → cancel requested for those
    still held; an id that is missing has been lost."""
    until = _lease_end()
    held: dict[str, bool] = {}
    for job_id, attempt, event_seq, progress in leases:
        parameters = {"job_id": job_id, "held_attempt": attempt, "until": until, "seq": event_seq, "reported": progress}
        row = session.execute(_RENEW, parameters).first()
        if row is not None:
            held[job_id] = row[0]
    return held


def fence(session: Session, job_id: str, attempt: int, **values: Any) -> None:
    """Assert, inside the transaction that writes an effect, that this attempt still owns the job; record `values`.
    Raises LeaseLost, which rolls the effect back."""
    statement = update(_jobs).where(*_held).values(lease_until=_lease_end(), **values).returning(_jobs.c.id)
    if session.execute(statement, {"job_id": job_id, "held_attempt": attempt}).first() is None:
        raise LeaseLost(job_id)


def finish(session: Session, job_id: str, attempt: int, status: str, *, event_seq: int, **values: Any) -> list[str]:
    """End a running job in the same transaction as its effect. Returns ids of jobs to be sent after the commit."""
    ended = {"status": status, "finished_at": utcnow(), "lease_until": None, "event_seq": event_seq, **values}
    parameters = {"job_id": job_id, "held_attempt": attempt, **{f"new_{name}": ended[name] for name in ended}}
    row = session.execute(_ending(tuple(ended)), parameters).first()
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
    query = select(_jobs.c.id).where(_jobs.c.serial_key == serial_key, queued).order_by(_jobs.c.id).limit(1)
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
    waiting = {
        "status": "queued",
        "lease_until": None,
        "worker": None,
        "failures": _jobs.c.failures + (1 if failed else 0),
        "event_seq": event_seq,
        "error": error,
        "run_after": utcnow() + timedelta(seconds=delay_s) if delay_s else None,
        "sent_at": None,
    }
    statement = update(_jobs).where(*_held).values(waiting).returning(_jobs.c.id)
    if session.execute(statement, {"job_id": job_id, "held_attempt": attempt}).first() is None:
        raise LeaseLost(job_id)


def backoff_s(failures: int) -> float:
    """Seconds before the next try: doubling, bounded, ±50 % so that retries do not arrive together."""
    settings = get_settings()
    return min(settings.retry_max_s, settings.retry_base_s * 2.0 ** min(failures, 16)) * random.uniform(0.5, 1.5)  # noqa: S311


# --- a person's writes ------------------------------------------------------------------------------------------------


def newest(session: Session, owner_id: str, kind: Kind, conversation_id: str | None = None) -> Job | None:
    """The one that came last, of a conversation or of all."""
    query = select(Job).where(col(Job.owner_id) == owner_id, col(Job.kind) == kind.value)
    if conversation_id is not None:
        query = query.where(col(Job.conversation_id) == conversation_id)
    return session.execute(query.order_by(col(Job.id).desc()).limit(1)).scalar_one_or_none()


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
        .where(col(Job.id) == job_id, col(Job.owner_id) == owner_id, queued)
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
        .where(col(Job.id) == job_id, col(Job.owner_id) == owner_id, running)
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
