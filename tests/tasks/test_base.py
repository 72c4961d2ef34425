"""What makes a function a job: one end per job, one effect per end, whatever the function does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import orjson
import pytest
import redis

from config.errors import Unavailable, Unusable
from config.queues import Kind
from storage import conversations, jobs
from storage.database import Session, transaction
from storage.events import EventLog
from storage.jobs import LeaseLost
from storage.tables import LOCAL_OWNER
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tasks.run import JobRun, Outcome
from tests import factories
from tests.tasks.conftest import Body

Does = Callable[[Body], None]
pytestmark = pytest.mark.usefixtures("database", "held")


@pytest.fixture
def client(clean_redis: str) -> redis.Redis:
    return redis.Redis.from_url(clean_redis)


@pytest.fixture(autouse=True)
def log(client: redis.Redis) -> EventLog:
    return EventLog(client)


def heard(log: EventLog, job_id: str) -> list[tuple[int, str]]:
    return [(event.seq, event.type) for event in log.read(job_id)]


def effect(session: Session) -> None:
    conversations.create(session, LOCAL_OWNER, "an effect")


def effects() -> int:
    return len(factories.all_conversations())


def sent(client: redis.Redis, queue: str = "noop") -> list[str]:
    return [orjson.loads(message)["headers"]["job_id"] for message in client.lrange(f"{queue}\x06\x164", 0, -1)]


# --- ends


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


# --- stops


def test_a_cancelled_job_ends_cancelled(does: Does, log: EventLog) -> None:
    def stop(run: JobRun) -> Outcome:
        run.cancel_requested.set()
        run.check()
        raise AssertionError("not reached")

    does(stop)
    job_id = factories.job()
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert heard(log, job_id)[-1][1] == "cancelled"
    assert effects() == 0


def test_a_cancel_while_the_job_fails_is_not_put_off(does: Does, held: Leases) -> None:
    """The job would wait for its next try first, up to a minute, only to be cancelled then."""

    def fail(run: JobRun) -> Outcome:
        with transaction() as session:
            jobs.cancel(session, run.id, LOCAL_OWNER)
        run.cancel_requested.set()
        raise Unavailable("Not there.")

    does(fail)
    job_id = factories.job()
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"


def test_a_worker_that_stops_gives_the_job_back_unharmed(does: Does, held: Leases, log: EventLog) -> None:
    def stop(run: JobRun) -> Outcome:
        run.content("so far")
        held.stopping.set()
        run.check()
        raise AssertionError("not reached")

    does(stop)
    job_id = factories.job()
    run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.failures, row.run_after, row.sent_at, row.event_seq) == ("queued", 0, None, None, 3)
    held.stopping.clear()
    does(lambda run: (run.restore_text(), Outcome({"text": run.text}))[1])
    run_job(job_id)
    assert factories.load(job_id).result == {"text": "so far"}
    assert heard(log, job_id) == [(2, "started"), (3, "content"), (4, "started"), (5, "done")]


def test_a_stop_after_the_lease_was_lost_is_quiet(does: Does, held: Leases) -> None:
    def stop(run: JobRun) -> Outcome:
        factories.put_back(run.id)
        held.stopping.set()
        run.check()
        raise AssertionError("not reached")

    does(stop)
    job_id = factories.job()
    run_job(job_id)
    assert factories.load(job_id).status == "queued"


def test_a_lost_lease_writes_nothing(does: Does, log: EventLog) -> None:
    """The worker was paused past its lease; another attempt has done the job meanwhile."""

    def overtaken(run: JobRun) -> Outcome:
        factories.put_back(run.id, event_seq=run.event_seq)
        does(lambda again: Outcome({"by": again.attempt}, effect))
        run_job(run.id)
        return Outcome({"by": run.attempt}, effect)

    does(overtaken)
    job_id = factories.job()
    run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.result, row.attempt) == ("succeeded", {"by": 2}, 2)
    assert effects() == 1
    assert heard(log, job_id) == [(2, "started"), (3, "started"), (4, "done")]


def test_a_lost_lease_is_noticed_between_two_steps(does: Does) -> None:
    def overtaken(run: JobRun) -> Outcome:
        factories.put_back(run.id, event_seq=run.event_seq)
        run.lease_lost.set()
        run.check()
        raise AssertionError("not reached")

    does(overtaken)
    job_id = factories.job()
    run_job(job_id)
    assert factories.load(job_id).status == "queued"


def test_the_worker_holds_what_it_runs_and_nothing_else(does: Does, held: Leases) -> None:
    seen: list[list[str]] = []

    def look(run: JobRun) -> Outcome:
        seen.append([one.id for one in held.held()])
        return Outcome({})

    does(look)
    job_id = factories.job()
    run_job(job_id)
    assert seen == [[job_id]]
    assert held.held() == []


# --- the next of a line


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


# --- lost workers


def lose(job_id: str) -> None:
    """The worker is gone and its lease has passed."""
    factories.change(job_id, lease_until=factories.ago(1))
    bury_or_put_back(factories.load(job_id))


def test_a_lost_workers_job_is_queued_again(log: EventLog) -> None:
    row = factories.running()
    run = JobRun(row, log, threading.Event())
    run.emit("started")
    run.content("so far")
    lose(row.id)
    waiting = factories.load(row.id)
    assert (waiting.status, waiting.failures, waiting.worker, waiting.sent_at) == ("queued", 1, None, None)
    assert waiting.event_seq == 3, "what the log says, not what the last heartbeat saved"
    with pytest.raises(Exception, match=row.id):
        run.content("from beyond")


def test_a_lost_log_leaves_room_for_what_it_held(log: EventLog, client: redis.Redis) -> None:
    row = factories.running()
    client.flushall()
    lose(row.id)
    assert factories.load(row.id).event_seq > 1000


def test_a_job_that_kills_its_workers_is_buried(log: EventLog, client: redis.Redis) -> None:
    job_id, after = factories.job(serial_key="s"), factories.job(serial_key="s")
    for _ in range(4):
        assert factories.claim(job_id) is not None
        lose(job_id)
    row = factories.load(job_id)
    assert (row.status, row.failures) == ("failed", 4)
    assert row.error is not None
    assert row.error["code"] == "worker_lost"
    assert "4 times" in row.error["message"]
    assert heard(log, job_id) == [(row.event_seq, "error")]
    assert sent(client) == [after]


def test_a_cancelled_job_of_a_lost_worker_is_cancelled(log: EventLog) -> None:
    row = factories.running()
    with transaction() as session:
        jobs.cancel(session, row.id, LOCAL_OWNER)
    lose(row.id)
    assert factories.load(row.id).status == "cancelled"
    assert heard(log, row.id)[-1][1] == "cancelled"


def test_two_sweeps_bury_once() -> None:
    row = factories.running()
    factories.change(row.id, lease_until=factories.ago(1))
    lost = factories.load(row.id)
    factories.at_once(*[lambda: bury_or_put_back(lost)] * 3)
    assert factories.load(row.id).failures == 1


def test_a_worker_that_finished_after_all_is_not_buried() -> None:
    row = factories.running()
    lost = factories.load(row.id)
    factories.finish(row.id)
    bury_or_put_back(lost)
    assert factories.load(row.id).status == "succeeded"


def test_a_fresh_claim_is_not_buried_for_the_old_one() -> None:
    row = factories.running()
    lost = factories.load(row.id)
    factories.put_back(row.id)
    factories.claim(row.id)
    bury_or_put_back(lost)
    after = factories.load(row.id)
    assert (after.status, after.attempt, after.failures) == ("running", 2, 1)


# --- heartbeats


def test_heartbeats_keep_leases_and_bring_news(held: Leases, log: EventLog) -> None:
    kept, lost, cancelled = (JobRun(factories.running(), log, held.stopping) for _ in range(3))
    for run in (kept, lost, cancelled):
        held.add(run)
        run.emit("started")
    factories.put_back(lost.id)
    with transaction() as session:
        jobs.cancel(session, cancelled.id, LOCAL_OWNER)
    factories.change(kept.id, lease_until=factories.ago(1))
    held._renew(held.held())
    row = factories.load(kept.id)
    assert row.lease_until is not None
    assert row.lease_until > factories.ago(0)
    assert row.event_seq == 2
    assert [run.lease_lost.is_set() for run in (kept, lost, cancelled)] == [False, True, False]
    assert [run.cancel_requested.is_set() for run in (kept, lost, cancelled)] == [False, False, True]


def test_a_cancel_that_is_announced_is_heard_at_once(held: Leases, log: EventLog) -> None:
    run = JobRun(factories.running(), log, held.stopping)
    held.add(run)
    held._cancel("somebody else's")
    assert not run.cancel_requested.is_set()
    held._cancel(run.id)
    assert run.cancel_requested.is_set()


def test_a_finished_run_is_not_called_lost(held: Leases, log: EventLog) -> None:
    run = JobRun(factories.running(), log, held.stopping)
    factories.finish(run.id)
    held._renew([run])
    assert not run.lease_lost.is_set()


def test_every_kind_has_its_function() -> None:
    from tasks.base import BODIES

    assert set(BODIES) == set(Kind)


def test_lease_lost_names_the_job() -> None:
    with pytest.raises(LeaseLost, match="gone"), transaction() as session:
        jobs.fence(session, "gone", 1)
