"""What makes a function a job: one end per job, one effect per end, whatever the function does."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest
import redis

from config.errors import Unavailable, Unusable
from config.queues import Kind
from storage.database import Session
from storage.events import EventLog
from tasks.base import run_job
from tasks.run import JobRun, Outcome
from tests import factories
from tests.tasks.conftest import Body
from tests.tasks.job_logs import client, effect, effects, heard, log, sent

__all__ = ["client", "log"]
Does = Callable[[Body], None]
pytestmark = pytest.mark.usefixtures("database", "held")


def test_a_job_ends_once_with_its_effect(does: Does, log: EventLog) -> None:
    does(lambda run: Outcome({"answer": 42}, effect))
    job_id = factories.job()
    run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.result, row.attempt, row.failures) == ("succeeded", {"answer": 42}, 1, 0)
    assert heard(log, job_id) == [(2, "started"), (3, "done")]
    assert row.event_seq == 3
    assert orjson.loads(log.read(job_id)[-1].json)["response"] == {"answer": 42}
    run_job(job_id)
    assert effects() == 1


def test_a_message_that_comes_twice_at_once_has_one_effect(does: Does) -> None:
    does(lambda run: Outcome({}, effect))
    for round_ in range(1, 5):
        job_id = factories.job()
        factories.at_once(*[lambda job_id=job_id: run_job(job_id)] * 4)
        assert (factories.load(job_id).status, effects()) == ("succeeded", round_)


def test_a_retryable_error_puts_the_job_back_for_later(does: Does, log: EventLog) -> None:
    def fail(_run: JobRun) -> Outcome:
        raise Unavailable("The model is not there right now.")

    does(fail)
    job_id = factories.job()
    run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.failures, row.finished_at) == ("queued", 1, None)
    assert row.error == {"code": "unavailable", "message": "The model is not there right now.", "retryable": True}
    assert row.run_after is not None
    assert 0 < (row.run_after - factories.ago(0)).total_seconds() <= 1.5
    body = orjson.loads(log.read(job_id)[-1].json)
    assert (body["type"], body["status"], body["code"]) == ("status", "retrying", "unavailable")
    run_job(job_id)
    assert factories.load(job_id).attempt == 1, "not before its time"


def test_after_enough_failures_the_job_is_dead(does: Does, log: EventLog) -> None:
    def fail(_run: JobRun) -> Outcome:
        raise Unavailable("Not there.")

    does(fail)
    job_id = factories.job()
    for _ in range(4):
        factories.change(job_id, run_after=None)
        run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.failures, row.attempt) == ("failed", 4, 4)
    assert row.error == {"code": "unavailable", "message": "Given up after 4 tries: Not there.", "retryable": True}
    numbers = [seq for seq, _ in heard(log, job_id)]
    assert numbers == list(range(2, row.event_seq + 1))
    assert heard(log, job_id)[-1][1] == "error"


def test_an_error_that_will_not_pass_ends_the_job_at_once(does: Does) -> None:
    def fail(_run: JobRun) -> Outcome:
        raise Unusable("That file is no export.")

    does(fail)
    job_id = factories.job()
    run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.failures) == ("failed", 1)
    assert row.error == {"code": "unprocessable", "message": "That file is no export.", "retryable": False}


def test_an_unexpected_error_tells_nothing_of_the_inside(does: Does, log: EventLog) -> None:
    def fail(_run: JobRun) -> Outcome:
        raise RuntimeError("/secret/path")

    does(fail)
    job_id = factories.job()
    run_job(job_id)
    row = factories.load(job_id)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "internal_error"
    assert b"secret" not in b"".join(event.json for event in log.read(job_id))


def test_an_effect_that_fails_is_not_half_written(does: Does) -> None:
    def broken(session: Session) -> None:
        effect(session)
        raise RuntimeError

    does(lambda run: Outcome({}, broken))
    job_id = factories.job()
    run_job(job_id)
    assert (factories.load(job_id).status, effects()) == ("failed", 0)


def test_redis_and_database_troubles_pass(does: Does) -> None:
    def fail(_run: JobRun) -> Outcome:
        raise redis.ConnectionError

    does(fail)
    job_id = factories.job()
    run_job(job_id)
    assert factories.load(job_id).status == "queued"


def test_the_next_of_a_line_is_sent_when_one_ends(does: Does, client: redis.Redis) -> None:
    def fail(_run: JobRun) -> Outcome:
        raise Unusable("no")

    first, second, third = (factories.job(serial_key="s") for _ in range(3))
    does(lambda run: Outcome({}))
    run_job(second)
    assert factories.load(second).status == "queued"
    run_job(first)
    assert sent(client) == [second]
    does(fail)
    run_job(second)
    assert sent(client) == [third, second]


def test_every_kind_has_its_function() -> None:
    from tasks.base import BODIES

    assert set(BODIES) == set(Kind)
