"""The sending side of `ledger`, in a process of its own: jobs accepted as api.intake does it, without the HTTP."""

from __future__ import annotations

import time

from benchmarks.ring import Bell
from config.queues import Kind
from storage import jobs, queue, users
from storage.connections import redis_client
from storage.database import transaction
from storage.events import channel, parse_live
from storage.jobs import NewJob
from storage.tables import LOCAL_OWNER


def prepare() -> None:
    with transaction() as session:
        users.ensure_local_owner(session)


def fill(count: int) -> float:
    """Accept and send `count` no-op jobs, a transaction each; seconds it took."""
    started = time.perf_counter()
    for _ in range(count):
        _accept()
    return time.perf_counter() - started


def ring(count: int) -> list[float]:
    """Milliseconds from before the transaction to hearing the job's `started` event, one at a time."""
    bell = Bell(redis_client(), channel("*"))
    found = []
    for _ in range(count):
        started = time.perf_counter()
        _accept()
        bell.wait(lambda data: parse_live(data).type == "started")
        found.append(1000 * (time.perf_counter() - started))
        bell.wait(lambda data: parse_live(data).is_terminal)
        bell.pause()
    return found


def _accept() -> None:
    with transaction() as session:
        job = jobs.add(session, NewJob(Kind.NOOP, LOCAL_OWNER))
        queue.send_after_commit(session, [job])
