"""What tests of jobs look at: the event log, the queue, and an effect that can be counted."""

from __future__ import annotations

import orjson
import pytest
import redis

from storage import conversations
from storage.database import Session
from storage.events import EventLog
from storage.tables import LOCAL_OWNER
from tests import factories


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
