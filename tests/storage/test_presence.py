"""Workers tell that they are there, and are forgotten when they fall silent."""

from __future__ import annotations

import pytest
import redis

from storage import presence
from storage.presence import WorkerPresence

pytestmark = pytest.mark.usefixtures("clean_redis", "settings")


def test_workers_that_reported_are_present() -> None:
    assert presence.present() == []
    index, generate = WorkerPresence("index", ["search"], 4), WorkerPresence("generate", ["chat"], 32, pid=7)
    index.models["embedding"] = {"name": "x", "state": "ready"}
    presence.report(index)
    presence.report(generate)
    index.busy = 2
    presence.report(index)
    assert presence.present() == [generate, index]


def test_a_worker_that_stops_withdraws() -> None:
    worker = WorkerPresence("index", ["search"], 4)
    presence.report(worker)
    presence.withdraw(worker)
    assert presence.present() == []


def test_a_worker_that_dies_is_forgotten_and_one_that_was_late_comes_back(clean_redis: str) -> None:
    client = redis.Redis.from_url(clean_redis)
    worker = WorkerPresence("index", ["search"], 4)
    presence.report(worker)
    assert 0 < client.ttl(worker.key) <= presence.PRESENCE_TTL_S
    client.delete(worker.key)
    assert presence.present() == []
    presence.report(worker)
    assert presence.present() == [worker]


def test_workers_of_other_versions_are_understood(clean_redis: str) -> None:
    worker = WorkerPresence("generate", ["chat"], 32, providers={"ollama": {"status": "offline"}}, engine={"slots": 8})
    presence.report(worker)
    assert presence.present() == [worker]
    client = redis.Redis.from_url(clean_redis)
    client.set(worker.key, b'{"name": "generate", "queues": ["chat"], "slots": 32, "mood": "good"}')
    (other,) = presence.present()
    assert (other.slots, other.providers, other.engine, other.models) == (32, {}, {}, {})


def test_looking_does_not_walk_through_all_keys(clean_redis: str) -> None:
    """The key space is mostly event logs; who asks for a job's state must not pay for them."""
    client = redis.Redis.from_url(clean_redis)
    presence.report(WorkerPresence("index", ["search"], 4))
    client.config_resetstat()
    presence.present()
    assert not set(client.info("commandstats")) & {"cmdstat_scan", "cmdstat_keys"}
