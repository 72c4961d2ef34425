"""The threads beside a worker's tasks: leases kept, cancels heard, presence told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from config.settings import reset_settings
from storage import presence, queue
from storage.events import EventLog
from storage.presence import WorkerPresence
from tasks.leases import Leases
from tasks.run import JobRun
from tests import factories
from tests.servers import wait_until


@pytest.fixture
def working(sqlite: str, clean_redis: str, settings: pytest.MonkeyPatch) -> Iterator[Leases]:
    """Leases whose threads run, with a quick heart."""
    settings.setenv("HEARTBEAT_S", "0.02")
    reset_settings()
    leases = Leases(WorkerPresence(name="test", queues=["noop"], slots=2))
    leases.start()
    yield leases
    leases.stop()
    for thread in leases._threads:
        thread.join(5)
        assert not thread.is_alive()


def run(leases: Leases, url: str) -> JobRun:
    run = JobRun(factories.running(), EventLog(redis.Redis.from_url(url)), leases.stopping)
    leases.add(run)
    return run


def test_a_lease_is_renewed_while_its_job_runs(working: Leases, clean_redis: str) -> None:
    held = run(working, clean_redis)
    factories.change(held.id, lease_until=factories.ago(5))
    wait_until(lambda: factories.load(held.id).lease_until > factories.ago(0), what="a heartbeat")
    held.emit("started")
    wait_until(lambda: factories.load(held.id).event_seq == 2, what="the last number")
    working.remove(held)
    factories.change(held.id, lease_until=factories.ago(5))
    assert working.held() == []


def test_a_job_that_was_taken_away_is_noticed(working: Leases, clean_redis: str) -> None:
    lost, kept = run(working, clean_redis), run(working, clean_redis)
    factories.put_back(lost.id)
    assert lost.lease_lost.wait(10)
    assert not kept.lease_lost.is_set()


def test_a_cancel_is_heard_at_once(working: Leases, clean_redis: str) -> None:
    """By the channel alone: no row says it, so no heartbeat can."""
    held = run(working, clean_redis)
    client = redis.Redis.from_url(clean_redis)
    wait_until(lambda: client.pubsub_numsub(queue.CONTROL_CHANNEL)[0][1] == 1, what="the subscription")
    queue.announce_cancel(held.id)
    assert held.cancel_requested.wait(10)


def test_a_worker_tells_that_it_is_there_and_how_busy(working: Leases, clean_redis: str) -> None:
    run(working, clean_redis)
    wait_until(lambda: [worker.busy for worker in presence.present()] == [1], what="its presence")
    (worker,) = presence.present()
    assert (worker.name, worker.slots) == ("test", 2)
    assert worker.rss_bytes > 1_000_000
    working.stop()
    assert presence.present() == []
