"""The jobs this process holds: leases renewed in one transaction, cancels heard at once, presence told to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import redis
import structlog

from config.logging import log
from config.settings import get_settings
from storage import jobs, model_cache, presence
from storage.connections import redis_client
from storage.database import DatabaseError, transaction
from storage.presence import WorkerPresence
from storage.queue import CONTROL_CHANNEL
from tasks.run import JobRun
from workers import registry


class Leases:
    """Started once per worker process; `runs` are the attempts in progress."""

    def __init__(self, me: WorkerPresence) -> None:
        self.me = me
        self.stopping = threading.Event()
        self.look: Callable[[WorkerPresence], None] = lambda _me: None  # brings `me` up to date before it is shown
        self._runs: dict[str, JobRun] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._forgotten_at = 0

    @property
    def worker_name(self) -> str:
        return f"{self.me.name}@{self.me.host}:{self.me.pid}"

    def start(self) -> None:
        self._forgotten_at = model_cache.forgotten_at()
        model_cache.clean_up()
        for target, name in ((self._beat, "leases"), (self._listen, "cancels")):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def tell(self) -> None:
        """Show the others how this worker is, now rather than at the next beat."""
        self.me.busy, self.me.rss_bytes = len(self.held()), psutil.Process().memory_info().rss
        self.look(self.me)
        with suppress(redis.RedisError):
            presence.report(self.me)

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads[:1]:
            thread.join(2.0)  # or a beat in progress would report the worker again
        with suppress(redis.RedisError):
            presence.withdraw(self.me)

    def add(self, run: JobRun) -> None:
        with self._lock:
            self._runs[run.id] = run

    def remove(self, run: JobRun) -> None:
        with self._lock:
            if self._runs.get(run.id) is run:
                del self._runs[run.id]

    def held(self) -> list[JobRun]:
        with self._lock:
            return list(self._runs.values())

    def _beat(self) -> None:
        structlog.contextvars.bind_contextvars(process=self.me.name)
        while not self._ended.wait(get_settings().heartbeat_s):
            runs = self.held()
            try:
                self._renew(runs)
            except DatabaseError as error:
                # Trying again in heartbeat_s; if the database stays away past the lease, the fence decides.
                log.error("leases not renewed", held=len(runs), reason=str(error.__cause__ or error)[:200])
            self._forget()
            self.tell()

    def _forget(self) -> None:
        """What somebody deleted goes from the models' caches, too; in a thread, as leases must not wait for a disk."""
        if "chat" in self.me.queues and (asked := model_cache.forgotten_at()) != self._forgotten_at:
            self._forgotten_at = asked
            threading.Thread(target=registry.forget_saved, name="forget", daemon=True).start()

    def _renew(self, runs: list[JobRun]) -> None:
        if not runs:
            return
        with transaction() as session:
            held = jobs.renew(session, [(run.id, run.attempt, run.event_seq, run.progress_now) for run in runs])
        for run in runs:
            if run.id not in held:
                if run in self.held():  # not one that ended between the list and the update
                    log.warning("lease lost", job_id=run.id, attempt=run.attempt)
                    run.lease_lost.set()
            elif held[run.id]:
                run.cancel_requested.set()

    def _listen(self) -> None:
        structlog.contextvars.bind_contextvars(process=self.me.name)
        while not self._ended.is_set():
            try:
                with redis_client(blocking=True).pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
                    pubsub.subscribe(CONTROL_CHANNEL)
                    while not self._ended.is_set():
                        message = pubsub.get_message(timeout=1.0)
                        if message is not None:
                            self._cancel(message["data"].decode())
            except (redis.RedisError, OSError):
                time.sleep(1.0)  # the heartbeat reads the rows' flags meanwhile

    def _cancel(self, job_id: str) -> None:
        with self._lock:
            run = self._runs.get(job_id)
        if run is not None:
            run.cancel_requested.set()


_leases: Leases | None = None
_leases_lock = threading.Lock()


def get_leases() -> Leases:
    """The process's leases; a plain one, not started, where no worker runs (tests that call a task as a function)."""
    global _leases  # noqa: PLW0603
    with _leases_lock:
        if _leases is None:
            _leases = Leases(WorkerPresence(name="inline", queues=[], slots=1))
        return _leases


def set_leases(leases: Leases) -> None:
    global _leases  # noqa: PLW0603
    with _leases_lock:
        _leases = leases
