"""What becomes of the jobs of a worker that is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import redis

from storage import jobs
from storage.database import transaction
from storage.events import EventLog
from storage.tables import LOCAL_OWNER
from tasks.base import bury_or_put_back
from tasks.run import JobRun
from tests import factories
from tests.tasks.conftest import Body
from tests.tasks.job_logs import client, heard, log, sent

__all__ = ["client", "log"]
Does = Callable[[Body], None]
pytestmark = pytest.mark.usefixtures("database", "held")


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
