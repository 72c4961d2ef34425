"""The queue's doorstep: sent after commit, never raising."""

from __future__ import annotations

import time

import orjson
import pytest
import redis

from config.celery import make_celery
from config.queues import Kind
from storage import jobs, queue
from storage.connections import redis_client
from storage.database import transaction
from storage.jobs import NewJob
from storage.tables import LOCAL_OWNER
from tests import factories


@pytest.fixture
def broker(clean_redis: str) -> redis.Redis:
    return redis.Redis.from_url(clean_redis)


def messages(broker: redis.Redis, name: str = "noop") -> list[str]:
    """Job ids waiting on a queue, those a worker takes first before the others."""
    keys = [name, *(f"{name}\x06\x16{step}" for step in range(1, 10))]
    found = []
    for key in keys:
        for message in reversed(broker.lrange(key, 0, -1)):
            found.append(orjson.loads(message)["headers"]["job_id"])
    return found


def test_an_id_is_sent_once_the_row_is_there(sqlite: str, broker: redis.Redis) -> None:
    with transaction() as session:
        job = jobs.add(session, NewJob(Kind.NOOP, LOCAL_OWNER))
        queue.send_after_commit(session, [job])
        assert messages(broker) == []
    assert messages(broker) == [job.id]


def test_nothing_is_sent_for_a_row_that_was_rolled_back(sqlite: str, broker: redis.Redis) -> None:
    with pytest.raises(ValueError), transaction() as session:  # noqa: PT012 - the send before it must not happen
        queue.send_after_commit(session, [jobs.add(session, NewJob(Kind.NOOP, LOCAL_OWNER))])
        raise ValueError
    factories.job()
    assert messages(broker) == []


def test_urgent_jobs_go_first_and_all_are_counted(broker: redis.Redis) -> None:
    for priority in (5, 9, 0, 5):
        assert queue.send("noop", f"p{priority}", priority)
    assert messages(broker) == ["p9", "p5", "p5", "p0"]
    assert queue.length("noop") == 4
    assert queue.length("chat") == 0


def test_a_broker_that_is_away_does_not_fail_the_request(
    sqlite: str, clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(queue.celery_app, "send_task", away)
    with transaction() as session:
        job = jobs.add(session, NewJob(Kind.NOOP, LOCAL_OWNER))
        queue.send_after_commit(session, [job])
    assert factories.load(job.id).status == "queued"
    monkeypatch.undo()
    assert not queue.send("noop", "x", 5), "sends pause for a moment, so that requests do not wait for each other's"
    monkeypatch.setattr(queue, "_paused_until", 0.0)
    assert queue.send("noop", "x", 5)


def test_a_broker_that_refuses_connections_costs_no_time(clean_redis: str) -> None:
    """Without its own bound kombu tries for six seconds, and every request with it."""
    app = make_celery()
    app.conf.broker_url = "redis+socket:///nowhere/redis.sock"
    began = time.monotonic()
    with pytest.raises(Exception, match=r"redis\.sock"):
        app.send_task("noop.run", args=["x"], queue="noop", retry=False)
    assert time.monotonic() - began < 1


def test_cancels_are_announced(broker: redis.Redis) -> None:
    with broker.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(queue.CONTROL_CHANNEL)
        assert pubsub.get_message(timeout=5) is None
        queue.announce_cancel("a-job")
        message = pubsub.get_message(timeout=5)
    assert message is not None
    assert message["data"] == b"a-job"


def test_a_blocking_client_waits_longer_than_others(clean_redis: str) -> None:
    assert redis_client(blocking=True) is not redis_client()
    assert redis_client() is redis_client()
