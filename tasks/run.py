"""One attempt at one job: what a task's function is given to report with.

claim ──▶ JobRun ──▶ the task's function ──▶ Outcome, committed together with `succeeded`
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import redis

from config.logging import log
from storage import jobs
from storage.database import Session, transaction
from storage.events import FIRST, NEXT, RESTART, Event, EventLog, LogLost, NewEvent, StaleAttempt
from storage.jobs import ClaimedJob
from storage.tables import utcnow

# How long an ending job waits for a Redis that is away, so that its log is complete before its row says so.
FLUSH_WAIT_S = 60.0
_FLUSH_PAUSE_S = 0.25


class Cancelled(Exception):
    """Somebody asked for the job to stop; `text` so far stays in the log."""


class Interrupted(Exception):
    """This worker is asked to stop; another attempt goes on from the checkpoint."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task produced. `effect` writes it in the transaction that ends the job."""

    result: dict[str, Any]
    effect: Callable[[Session], None] | None = None


class JobRun:
    """Thread-safe where the heartbeat touches it: flags are events, numbers are written by the task's thread only."""

    def __init__(self, job: ClaimedJob, event_log: EventLog, stopping: threading.Event) -> None:
        self.job = job
        self.id, self.attempt, self.owner_id = job.id, job.attempt, job.owner_id
        self.input: dict[str, Any] = job.input
        self.progress_now: dict[str, Any] | None = job.progress
        self.cancel_requested = threading.Event()
        self.lease_lost = threading.Event()
        self.first_output_at: datetime | None = job.first_output_at
        self.text = ""  # the answer so far, across attempts
        self.resume_tokens: list[int] = []
        self.logprobs: list[dict[str, Any]] = []  # where they were asked for
        self.lasting: list[NewEvent] = []  # what `tell` told, across attempts
        self.before_anew: Callable[[], None] = lambda: None  # called where Redis lost what it was given
        self._stopping = stopping
        self._log = event_log
        self._seq = job.event_seq
        self._mode = FIRST
        self._unsent: list[NewEvent] = []
        self._maybe_written = 0  # events of a call that got no answer: Redis may have written them after all
        if job.cancel_requested:
            self.cancel_requested.set()

    # --- questions

    @property
    def event_seq(self) -> int:
        return self._seq

    def should_stop(self) -> bool:
        return self.cancel_requested.is_set() or self.lease_lost.is_set() or self._stopping.is_set()

    def check(self) -> None:
        """Call between tokens or items. Raises Cancelled, Interrupted or LeaseLost."""
        if self.lease_lost.is_set():
            raise jobs.LeaseLost(self.id)
        if self.cancel_requested.is_set():
            raise Cancelled
        if self._stopping.is_set():
            raise Interrupted

    # --- events

    def emit(self, kind: str, /, *, resume: str = "", **fields: Any) -> None:
        """Append one event. While Redis is away events wait here, in order, and go out with the next one."""
        self._unsent.append(NewEvent({"type": kind, **fields}, resume))
        self._send()

    def tell(self, kind: str, /, **fields: Any) -> None:
        """Append an event that belongs to the answer: where the log was lost it is told again."""
        event = NewEvent({"type": kind, **fields})
        self.lasting.append(event)
        self._unsent.append(event)
        self._send()

    def emit_all(self, events: Iterable[dict[str, Any]]) -> None:
        """Append several events in one go."""
        self._unsent += [NewEvent(fields) for fields in events]
        self._send()

    def content(self, text: str, tokens: tuple[int, ...] = (), logprobs: Sequence[dict[str, Any]] = ()) -> None:
        """A piece of the answer."""
        if self.first_output_at is None:
            self.first_output_at = utcnow()
        self.text += text
        self.resume_tokens.extend(tokens)
        self.logprobs.extend(logprobs)
        told = {"logprobs": list(logprobs)} if logprobs else {}
        self.emit("content", content=text, **told, resume=" ".join(map(str, tokens)))

    def progress(self, done: int, total: int | None, unit: str, phase: str, **more: int) -> None:
        self.progress_now = {"done": done, "total": total, "unit": unit, **more}
        self.emit("progress", **self.progress_now, phase=phase)

    def restore_text(self) -> None:
        """Read what earlier attempts of this job already said; the answer continues after it."""
        if self.attempt == 1:
            return
        for event in self.logged():
            if event.type == "reset":
                self.text, self.resume_tokens, self.logprobs = "", [], []
            elif event.type == "content":
                said = orjson.loads(event.json)
                self.text += said["content"]
                self.logprobs += said.get("logprobs", ())
                self.resume_tokens += [int(token) for token in event.resume.split()]

    def logged(self) -> list[Event]:
        """What the log holds, of all attempts. Raises redis.RedisError."""
        self.flush(FLUSH_WAIT_S)
        return self._log.read(self.id)

    def _send(self) -> None:
        while self._unsent:
            try:
                self._seq = self._log.append(self.id, self.attempt, self._unsent, floor=self._seq, mode=self._mode)
            except LogLost:
                self._start_anew()
                continue
            except redis.RedisError as error:
                self._maybe_written = len(self._unsent)
                log.warning("event log away; events wait", waiting=len(self._unsent), reason=type(error).__name__)
                return
            self._mode, self._maybe_written = NEXT, 0
            self._unsent.clear()

    def _start_anew(self) -> None:
        """The log is gone: one `reset`, then all that was said, under numbers nobody has seen. Raises LeaseLost: the
        fence went with the log, so the row has to say whether this attempt may write."""
        with self.slice():
            pass
        log.warning("event log was lost; starting it anew", after=self._seq)
        start = [NewEvent({"type": "reset"})]
        if self.text:
            said = {"type": "content", "content": self.text, **({"logprobs": self.logprobs} if self.logprobs else {})}
            start.append(NewEvent(said, " ".join(map(str, self.resume_tokens))))
        self.before_anew()
        start += self.lasting
        again = {id(event) for event in self.lasting}
        waiting = [event for event in self._unsent if event.fields["type"] not in ("content", "reset")]
        self._unsent = start + [event for event in waiting if id(event) not in again]
        self._seq += self._maybe_written
        self._mode = RESTART

    def flush(self, wait_s: float) -> bool:
        """Send what waits; True when nothing is left. Keeps trying for `wait_s` seconds unless the lease is lost."""
        deadline = time.monotonic() + wait_s
        while True:
            self._send()
            if not self._unsent:
                return True
            if self.lease_lost.wait(_FLUSH_PAUSE_S) or time.monotonic() > deadline:
                return False

    # --- rows

    @contextmanager
    def slice(self, **values: Any) -> Iterator[Session]:
        """A transaction that commits only while this attempt holds the job; `values` are job columns to record.
        Events are emitted outside of it: a log that was lost opens a transaction of its own."""
        with transaction() as session:
            jobs.fence(session, self.id, self.attempt, **values)
            yield session

    def end(
        self, status: str, final: dict[str, Any], effect: Callable[[Session], None] | None = None, **values: Any
    ) -> list[str]:
        """Commit effect and end together, then log the terminal event. Returns ids of jobs that may run now."""
        self.flush(FLUSH_WAIT_S)
        seq = self._seq + len(self._unsent) + 1
        with transaction() as session:
            # The fence comes first: an attempt that lost its lease does no work, and none after it can get in between.
            unblocked = jobs.finish(
                session,
                self.id,
                self.attempt,
                status,
                event_seq=seq,
                first_output_at=self.first_output_at,
                progress=self.progress_now,
                **values,
            )
            if effect is not None:
                effect(session)
        self._unsent.append(NewEvent(final))
        with suppress(StaleAttempt, jobs.LeaseLost):  # quickly retried, or a log that went just now: the row says it
            self._send()
        return unblocked

    def put_back(self, *, delay_s: float, failed: bool, error: dict[str, Any] | None) -> None:
        self.flush(2.0)
        with transaction() as session:
            jobs.put_back(
                session, self.id, self.attempt, event_seq=self._seq, delay_s=delay_s, failed=failed, error=error
            )
