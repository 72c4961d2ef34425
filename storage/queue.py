"""The queue's doorstep: work is asked for by name, with a job's id, after commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial

import redis
from kombu.exceptions import OperationalError
from sqlmodel import Session

from config.celery import celery_app
from config.logging import log
from config.queues import KINDS, MAX_PRIORITY, Kind
from storage.connections import redis_client
from storage.database import after_commit
from storage.tables import Job

CONTROL_CHANNEL = "bc:control"  # carries ids of jobs whose cancel flag was set
_PRIORITY_SEPARATOR = "\x06\x16"
# After a failed send, further sends are skipped this long: the rows are safe and upkeep sends them, while waiting for a
# broker that is away would hold every request for the connect timeout.
BROKER_PAUSE_S = 2.0

_pause_lock = threading.Lock()
_paused_until = 0.0


def broker_priority(priority: int) -> int:
    """Clients say 9 for now and 0 for whenever; Redis queues read 0 first."""
    return MAX_PRIORITY - priority


def send_after_commit(session: Session, jobs: Sequence[Job]) -> None:
    """Put these jobs' ids on their queues when the transaction is in the database. Never raises: upkeep sends again."""
    for job in jobs:
        after_commit(session, partial(send, job.kind, job.id, job.priority))


def send(kind: str, job_id: str, priority: int) -> bool:
    """Put a job's id on its queue; False when the broker could not be reached."""
    global _paused_until  # noqa: PLW0603
    if time.monotonic() < _paused_until:
        return False
    spec = KINDS[Kind(kind)]
    try:
        celery_app.send_task(
            spec.task,
            args=[job_id],
            queue=spec.queue,
            priority=broker_priority(priority),
            retry=False,
            argsrepr=f"({kind} {job_id})",
            headers={"kind": kind, "job_id": job_id},
        )
    except (OperationalError, redis.RedisError, OSError) as error:
        with _pause_lock:
            _paused_until = time.monotonic() + BROKER_PAUSE_S
        log.warning("queue away; upkeep will send the job", job_id=job_id, reason=type(error).__name__)
        return False
    return True


def length(queue: str) -> int:
    """Messages waiting on the broker for `queue`, over all priorities (an LLEN of the plain name undercounts)."""
    pipe = redis_client().pipeline(transaction=False)
    pipe.llen(queue)
    for step in range(1, MAX_PRIORITY + 1):
        pipe.llen(f"{queue}{_PRIORITY_SEPARATOR}{step}")
    return sum(pipe.execute())


def announce_after_commit(session: Session, job_id: str) -> None:
    after_commit(session, partial(announce_cancel, job_id))


def announce_cancel(job_id: str) -> None:
    """Wake the worker that runs this job; a worker that misses it reads the row's flag with its next heartbeat."""
    try:
        redis_client().publish(CONTROL_CHANNEL, job_id)
    except redis.RedisError as error:
        log.warning(
            "cancel not announced; the worker's heartbeat will see it", job_id=job_id, reason=type(error).__name__
        )
