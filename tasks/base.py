"""What makes a function a job: claim, lease, events, and an end that is written exactly once.

    @job(Kind.NOOP)
    def run(run: JobRun) -> Outcome: ...

The message on the queue carries the job's id and nothing else. A second delivery finds the row taken and leaves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import redis
import structlog

from config.celery import celery_app
from config.errors import BackchannelError, Unavailable, WorkerLost
from config.logging import log
from config.queues import KINDS, Kind
from storage import backlog, jobs, queue
from storage.connections import redis_client
from storage.database import is_away, reading, transaction
from storage.events import LOST_LEAP, EventLog, StaleAttempt, terminal_fields
from storage.jobs import ClaimedJob
from storage.tables import Job
from tasks.leases import get_leases
from tasks.run import Cancelled, Interrupted, JobRun, Outcome
from tasks.seats import Seats

# However long a provider wants to be left alone, its jobs look again after this.
MAX_ASKED_PAUSE_S = 900.0

Body = Callable[[JobRun], Outcome]
B = TypeVar("B", bound=Body)

BODIES: dict[Kind, Body] = {}

_log_lock = threading.Lock()
_event_log: EventLog | None = None


def event_log() -> EventLog:
    global _event_log  # noqa: PLW0603
    with _log_lock:
        if _event_log is None:
            _event_log = EventLog(redis_client())
        return _event_log


def job(kind: Kind) -> Callable[[B], B]:
    """Register the function that does jobs of this kind as the Celery task its queue carries."""

    def register(body: B) -> B:
        BODIES[kind] = body

        seats = Seats(partial(_seats_of, kind), lambda: _call_next(kind, seats))

        @celery_app.task(name=KINDS[kind].task)  # type: ignore[untyped-decorator]
        def deliver(job_id: str) -> None:
            with seats.take() as seated:
                if seated:
                    run_job(job_id)
                else:  # its row stays queued
                    log.debug("no seat for it now", job_id=job_id)

        return body

    return register


def _seats_of(kind: Kind) -> int | None:
    spec = KINDS[kind]
    slots = get_leases().me.slots
    if spec.leaves_free and get_leases().me.queues:
        return max(1, slots // 2, slots - spec.leaves_free)
    return spec.at_once


def _call_next(kind: Kind, seats: Seats) -> None:
    """Whoever was turned away has no message on the broker any more; upkeep would send it, but later."""
    with reading() as session:
        row = backlog.first(session, KINDS[kind].queue)
    if row is None:
        seats.nobody_waits()
    else:
        queue.send(row.kind, row.id, row.priority)


def run_job(job_id: str) -> None:
    """Do one queued job, if it is still to be had."""
    leases = get_leases()
    with transaction() as session:
        row = jobs.claim(session, job_id, leases.worker_name)
    if row is None:
        log.debug("nothing to do: taken, ended or not due", job_id=job_id)
        return
    run = JobRun(row, event_log(), leases.stopping)
    leases.add(run)
    with structlog.contextvars.bound_contextvars(job_id=job_id, kind=row.kind, attempt=row.attempt):
        try:
            _attempt(run, row)
        finally:
            leases.remove(run)


def _attempt(run: JobRun, row: ClaimedJob) -> None:
    try:
        run.emit("started", attempt=run.attempt)
        _end_well(run, BODIES[Kind(row.kind)](run))
    except (jobs.LeaseLost, StaleAttempt):
        log.warning("another attempt owns this job; nothing was written")
    except Cancelled:
        _end_cancelled(run)
    except Interrupted:
        log.info("stopping; the job goes back to its queue")
        with suppress(jobs.LeaseLost, StaleAttempt):
            run.put_back(delay_s=0, failed=False, error=None)
    except Exception as error:
        _end_badly(run, row, error)


def _end_well(run: JobRun, outcome: Outcome) -> None:
    _end(run, "succeeded", {"type": "done", "response": outcome.result}, outcome.effect, result=outcome.result)
    log.info("done")


def _end_cancelled(run: JobRun) -> None:
    log.info("cancelled")
    _end(run, "cancelled", {"type": "cancelled"})


def _end(
    run: JobRun, status: str, final: dict[str, Any], effect: Callable[[Any], None] | None = None, **values: Any
) -> None:
    try:
        unblocked = run.end(status, final, effect, **values)
    except (jobs.LeaseLost, StaleAttempt):
        log.warning("another attempt owns this job; nothing was written")
        return
    send_by_id(unblocked)


def _end_badly(run: JobRun, row: ClaimedJob, error: Exception) -> None:
    """Retry what may pass by itself, with growing pauses; the rest ends the job with its reason."""
    known = _as_known(error)
    if known is None:
        log.exception("unexpected failure")
        problem = {
            "code": "internal_error",
            "message": "Something went wrong inside; the log has the details.",
            "retryable": False,
        }
    else:
        problem = known.as_json()
    failures = row.failures + 1
    if problem["retryable"] and run.cancel_requested.is_set():
        _end_cancelled(run)
        return
    try:
        if problem["retryable"] and failures < row.max_failures:
            delay_s = max(jobs.backoff_s(row.failures), _asked_pause_s(known))
            log.warning(
                "failed; will be tried again",
                code=problem["code"],
                reason=problem["message"],
                delay_s=round(delay_s, 1),
            )
            run.emit(
                "status",
                status="retrying",
                code=problem["code"],
                message=problem["message"],
                retry_in_s=round(delay_s, 1),
            )
            run.put_back(delay_s=delay_s, failed=True, error=problem)
            return
    except (jobs.LeaseLost, StaleAttempt):
        log.warning("another attempt owns this job; nothing was written")
        return
    if problem["retryable"]:
        problem["message"] = f"Given up after {failures} tries: {problem['message']}"
    log.error("failed", code=problem["code"], reason=problem["message"])
    _end(run, "failed", {"type": "error", **problem}, error=problem, failures=failures)


def _asked_pause_s(error: BackchannelError | None) -> float:
    """What the part that failed asked for, within reason."""
    value = error.headers.get("Retry-After", "") if error else ""
    return min(float(value), MAX_ASKED_PAUSE_S) if value.isdecimal() else 0.0


def _as_known(error: Exception) -> BackchannelError | None:
    if isinstance(error, BackchannelError):
        return error
    if isinstance(error, redis.RedisError):
        return Unavailable("Redis did not answer.")
    if is_away(error):
        return Unavailable("The database did not answer.")
    return None


def send_by_id(job_ids: list[str]) -> None:
    """Put jobs on their queues whose rows are already committed."""
    if not job_ids:
        return
    with reading() as session:
        rows = [row for job_id in job_ids if (row := session.get(Job, job_id)) is not None]
    for row in rows:
        queue.send(row.kind, row.id, row.priority)


def bury_or_put_back(row: Job) -> None:
    """A running job whose worker is gone: back to the queue, or dead-lettered when that happened too often."""
    event_seq = _last_seq(row)
    failures = row.failures + 1
    words = log.bind(job_id=row.id, kind=row.kind, attempt=row.attempt, worker=row.worker, failures=failures)
    try:
        if not row.cancel_requested and failures < row.max_failures:
            with transaction() as session:
                jobs.put_back(session, row.id, row.attempt, event_seq=event_seq, delay_s=0, failed=True, error=None)
            words.warning("worker lost; job is queued again")
            return
        lost = WorkerLost(f"The worker died {failures} times while doing this job, so it is not tried again.")
        status, error = ("cancelled", None) if row.cancel_requested else ("failed", lost.as_json())
        with transaction() as session:
            unblocked = jobs.finish(
                session, row.id, row.attempt, status, event_seq=event_seq + 1, error=error, failures=failures
            )
    except jobs.LeaseLost:
        return  # its worker came back in time, or another sweep was quicker
    words.error("worker lost; job ended", status=status)
    fields = terminal_fields(status, None, error)
    assert fields is not None
    event_log().try_append_end(row.id, row.attempt, fields, event_seq + 1)
    send_by_id(unblocked)


def _last_seq(row: Job) -> int:
    """The number of the dead attempt's last event, or one beyond whatever it can have been."""
    try:
        last = event_log().shut_out(row.id, row.attempt)
    except (redis.RedisError, StaleAttempt):
        last = 0
    return max(row.event_seq, last) if last else row.event_seq + LOST_LEAP
