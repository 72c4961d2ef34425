"""Whatever happens to workers and to Redis, a listener ends up with the answer, said once and in order.

Hypothesis plays the weather: calls that fail, calls that time out after they were carried out, an emptied Redis,
workers that die, stop cleanly or come back as zombies. The answer is a known sequence of pieces, so a listener's text
must be a beginning of it at every moment.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from storage.events import LOST_LEAP, Event, EventLog, StaleAttempt
from storage.jobs import LeaseLost
from storage.listeners import bridged
from tasks.run import JobRun

JOB = "a-job"
TRUTH = "".join(f"{number} " for number in range(2000))


class FlakyLog(EventLog):
    """Fails the next calls as told: `before` Redis hears of them, or `after` it carried them out."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self.failures: list[str] = []
        really = self._append

        def append(**call: Any) -> Any:
            failure = self.failures.pop(0) if self.failures else None
            if failure == "before":
                raise redis.ConnectionError
            answer = really(**call)
            if failure == "after":
                raise redis.TimeoutError
            return answer

        self._append = append  # type: ignore[assignment]


class Attempt(JobRun):
    """Without a database: the house knows who holds the lease."""

    house: House

    @contextmanager
    def slice(self, **_values: Any) -> Iterator[Any]:
        if self.attempt != self.house.attempt:
            raise LeaseLost(self.id)
        yield None


class Listener:
    """Reads the stream from where it is, as the hub does."""

    def __init__(self) -> None:
        self.last, self.text = 1, ""

    def read(self, log: EventLog) -> None:
        for event in log.read(JOB, self.last):
            for step in bridged(self.last, event):
                self._hear(step)

    def _hear(self, event: Event) -> None:
        assert event.seq > self.last
        assert event.seq == self.last + 1 or event.type == "reset", "a gap without a reset"
        self.last = event.seq
        if event.type == "reset":
            self.text = ""
        elif event.type == "content":
            self.text += orjson.loads(event.json)["content"]


class House(RuleBasedStateMachine):
    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.log = FlakyLog(self.client)
        self.row_seq, self.attempt = 1, 0
        self.quick, self.slow = Listener(), Listener()
        self.zombies: list[JobRun] = []
        self._start()

    def _start(self) -> None:
        self.attempt += 1
        row: Any = SimpleNamespace(
            id=JOB, attempt=self.attempt, owner_id="me", input={}, progress=None, first_output_at=None,
            event_seq=self.row_seq, cancel_requested=False,
        )  # fmt: skip
        self.run = Attempt(row, self.log, threading.Event())
        self.run.house = self
        self.run.emit("started")

    def _go_on(self, run: JobRun, failures: Sequence[str] = ()) -> None:
        """The answer's next piece."""
        if run.text == "":
            run.restore_text()
        self.log.failures = list(failures)
        run.content(f"{run.text.count(' ')} ")
        self.log.failures = []

    @rule(failures=st.lists(st.sampled_from(["before", "after"]), max_size=2))
    def say(self, failures: list[str]) -> None:
        self._go_on(self.run, failures)

    @rule()
    def report(self) -> None:
        self.run.emit("status", status="thinking")

    @rule()
    def heartbeat(self) -> None:
        self.row_seq = self.run.event_seq

    @rule()
    def flushall(self) -> None:
        self.client.flushall()

    @rule()
    def stop_cleanly(self) -> None:
        assert self.run.flush(0)
        self.row_seq = self.run.event_seq
        self._start()

    @rule(redis_away=st.booleans(), failures=st.lists(st.sampled_from(["before", "after"]), max_size=2))
    def die(self, redis_away: bool, failures: list[str]) -> None:
        """The worker is gone, or only paused; upkeep puts the job back and another one claims it."""
        self.zombies.append(self.run)
        last = 0
        if not redis_away:
            last = self.log.shut_out(JOB, self.attempt)
        self.row_seq = max(self.row_seq, last) if last else self.row_seq + LOST_LEAP
        self.log.failures = failures
        self._start()
        self.log.failures = []

    @precondition(lambda self: self.zombies)
    @rule(which=st.integers(0, 3))
    def zombie_speaks(self, which: int) -> None:
        zombie = self.zombies[which % len(self.zombies)]
        try:
            self._go_on(zombie)
        except (StaleAttempt, LeaseLost):
            self.zombies.remove(zombie)

    @rule()
    def slow_listener_reads(self) -> None:
        self.slow.read(self.log)
        assert TRUTH.startswith(self.slow.text)

    @invariant()
    def a_listener_has_a_beginning_of_the_answer(self) -> None:
        self.quick.read(self.log)
        assert TRUTH.startswith(self.quick.text)

    def teardown(self) -> None:
        self._go_on(self.run)
        assert self.run.flush(0)
        for listener in (self.quick, self.slow, Listener()):
            listener.read(self.log)
            assert listener.text == self.run.text
        assert TRUTH.startswith(self.run.text)


def test_a_listener_hears_the_answer_once_and_in_order(clean_redis: str) -> None:
    House.client = redis.Redis.from_url(clean_redis)
    rounds = settings(
        max_examples=150,
        stateful_step_count=20,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(House, settings=rounds)
