"""Whatever was accepted is on its way again after a sweep or a few, and the broker does not fill with copies."""

from __future__ import annotations

import io
import os
from collections import Counter
from datetime import timedelta

import orjson
import pytest
import redis
from sqlalchemy import update
from sqlmodel import col

from config.queues import Kind
from config.settings import get_settings
from storage import blobs, indexes, queue
from storage.database import transaction
from storage.indexes import Target
from storage.tables import Job, utcnow
from tasks import upkeep
from tasks.base import run_job
from tests import factories

pytestmark = pytest.mark.usefixtures("sqlite", "held")


@pytest.fixture(autouse=True)
def broker(clean_redis: str) -> redis.Redis:
    return redis.Redis.from_url(clean_redis)


def messages(broker: redis.Redis, name: str = "noop") -> Counter[str]:
    """How many messages each job has on a queue."""
    keys = [name, *(f"{name}\x06\x16{step}" for step in range(1, 10))]
    return Counter(orjson.loads(message)["headers"]["job_id"] for key in keys for message in broker.lrange(key, 0, -1))


def waiting(count: int, sent_s_ago: float = 60, **fields: object) -> list[str]:
    """Jobs whose rows say that they were sent that long ago; nothing is on the broker."""
    ids = [factories.job(**fields) for _ in range(count)]
    for job_id in ids:
        factories.change(job_id, sent_at=factories.ago(sent_s_ago))
    return ids


def time_passes(ids: list[str]) -> None:
    """Longer than RESEND_AFTER_S."""
    with transaction() as session:
        sent = update(Job).where(col(Job.id).in_(ids), col(Job.sent_at).is_not(None))
        session.execute(sent.values(sent_at=factories.ago(60)))


def test_what_the_broker_forgot_is_sent_again(broker: redis.Redis) -> None:
    ids = waiting(5)
    upkeep.sweep()
    assert messages(broker) == dict.fromkeys(ids, 1)
    upkeep.sweep()
    assert messages(broker) == dict.fromkeys(ids, 1)


def test_an_emptied_broker_with_more_jobs_than_a_batch(broker: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 10)
    ids = waiting(35)
    for _ in range(4):
        upkeep.sweep()
    assert messages(broker) == dict.fromkeys(ids, 1)


def test_jobs_that_simply_wait_get_no_copies(broker: redis.Redis) -> None:
    ids = waiting(5)
    upkeep.sweep()
    for _ in range(10):
        time_passes(ids)
        upkeep.sweep()
    assert messages(broker) == dict.fromkeys(ids, 1)


def test_the_lost_ones_among_those_that_wait(broker: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the messages are lost, and those of the less urgent jobs. Every job runs, and copies stay few."""
    monkeypatch.setattr(upkeep, "BATCH", 6)
    present, lost = waiting(6, priority=9), waiting(6, priority=0)
    for job_id in present:
        queue.send("noop", job_id, 9)
    everybody = present + lost
    for _ in range(12):
        upkeep.sweep()
        assert sum(messages(broker).values()) <= 2 * len(everybody)
        _take_one(broker)
        time_passes(everybody)
    while _take_one(broker):
        time_passes(everybody)
        upkeep.sweep()
    assert set(factories.statuses(everybody)) == {"succeeded"}


def _take_one(broker: redis.Redis) -> bool:
    """What a worker does: the most urgent message, and its job if that is still to be had."""
    for key in ["noop", *(f"noop\x06\x16{step}" for step in range(1, 10))]:
        if message := broker.rpop(key):
            run_job(orjson.loads(message)["headers"]["job_id"])
            return True
    return False


def test_a_line_whose_messages_were_used_up_adds_no_copies_without_end(broker: redis.Redis) -> None:
    """Jobs behind another of their line are refused by the claim: their messages are gone though the rows wait."""
    line = waiting(6, serial_key="s")
    others = waiting(4)
    for job_id in others:
        queue.send("noop", job_id, 5)
    for _ in range(10):
        time_passes(line + others)
        upkeep.sweep()
    assert sum(messages(broker).values()) <= len(line + others)


def test_a_retry_is_sent_when_it_is_due(broker: redis.Redis) -> None:
    job_id = factories.running().id
    factories.put_back(job_id, delay_s=60)
    upkeep.sweep()
    assert messages(broker) == {}
    factories.change(job_id, run_after=factories.ago(0.1))
    upkeep.sweep()
    assert messages(broker) == {job_id: 1}
    upkeep.sweep()
    assert messages(broker) == {job_id: 1}


def test_the_job_of_a_dead_worker_is_sent_in_the_same_sweep(broker: redis.Redis) -> None:
    row = factories.running()
    factories.change(row.id, lease_until=factories.ago(1))
    upkeep.sweep()
    assert factories.load(row.id).failures == 1
    assert messages(broker) == {row.id: 1}


def test_a_broker_that_is_away_loses_nothing(broker: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = waiting(3)
    with monkeypatch.context() as away:
        away.setattr(queue, "send", lambda *_: False)
        upkeep.sweep()
    assert messages(broker) == {}
    upkeep.sweep()
    assert messages(broker) == dict.fromkeys(ids, 1)


def test_ended_jobs_are_not_sent(broker: redis.Redis) -> None:
    for job_id, status in zip(waiting(3), ("succeeded", "failed", "cancelled"), strict=True):
        factories.change(job_id, status=status)
    upkeep.sweep()
    assert messages(broker) == {}


def test_leftovers_are_embedded(broker: redis.Redis) -> None:
    factories.conversation()
    upkeep.sweep()
    (job,) = factories.all_jobs(Kind.EMBED)
    assert messages(broker, "embed") == {job.id: 1}
    upkeep.sweep()
    assert len(factories.all_jobs(Kind.EMBED)) == 1


def test_leftovers_of_a_job_that_failed_wait_a_while(broker: redis.Redis) -> None:
    factories.conversation()
    upkeep.sweep()
    (job,) = factories.all_jobs(Kind.EMBED)
    factories.change(job.id, status="failed", finished_at=utcnow())
    upkeep.sweep()
    assert len(factories.all_jobs(Kind.EMBED)) == 1
    factories.change(job.id, finished_at=factories.ago(120))
    upkeep.sweep()
    assert len(factories.all_jobs(Kind.EMBED)) == 2


def test_nothing_is_embedded_where_nothing_changed() -> None:
    conversation_id = factories.conversation()
    with transaction() as session:
        indexes.mark_indexed(session, conversation_id, Target("m#1", new=False), 1)
    upkeep.sweep()
    assert factories.all_jobs(Kind.EMBED) == []


def test_purge_removes_old_jobs_and_their_files() -> None:
    digests = {name: blobs.store(io.BytesIO(name.encode()), 100)[0] for name in ("done", "failed", "recent")}
    ids = {name: factories.job(Kind.IMPORT, input={"blob": digest}) for name, digest in digests.items()}
    for name in ("done", "failed"):
        os.utime(blobs.path(digests[name]), (0, 0))
    long_ago = utcnow() - timedelta(days=get_settings().job_retention_days + 1)
    factories.change(ids["done"], status="succeeded", finished_at=long_ago)
    factories.change(ids["failed"], status="failed", finished_at=utcnow())
    factories.change(ids["recent"], status="succeeded", finished_at=utcnow())
    upkeep.purge()
    assert {job.id for job in factories.all_jobs()} == {ids["failed"], ids["recent"]}
    kept = {file.name for file in (get_settings().data_dir / "blobs").rglob("*") if file.is_file()}
    assert kept == {digests["failed"], digests["recent"]}
