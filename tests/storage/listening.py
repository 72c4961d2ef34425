"""Rows without a database, and listeners to a log in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import redis

from storage.events import (
    FIRST,
    NEXT,
    Event,
    EventLog,
    NewEvent,
    render,
    terminal_fields,
)
from storage.listeners import EventHub, RowState

JOB = "a-job"


class Rows:
    """What the rows say, without a database."""

    def __init__(self) -> None:
        self.states: dict[str, RowState] = {}
        self.asked = 0

    async def read(self, job_id: str) -> RowState:
        self.asked += 1
        return self.states.get(job_id, RowState(1, None))

    def end(self, seq: int, status: str = "succeeded", result: Any = None, job_id: str = JOB) -> None:
        fields = terminal_fields(status, result, {"code": "x", "message": "y", "retryable": False})
        assert fields is not None
        self.states[job_id] = RowState(seq, render(job_id, seq, fields))


@pytest.fixture
def client(clean_redis: str, settings: pytest.MonkeyPatch) -> redis.Redis:
    return redis.Redis.from_url(clean_redis)


@pytest.fixture
def log(client: redis.Redis) -> EventLog:
    return EventLog(client)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
async def hub(client: redis.Redis, rows: Rows) -> AsyncIterator[EventHub]:
    hub = EventHub(rows.read)
    await hub.start()
    yield hub
    await hub.stop()


def write(log: EventLog, *types: str, floor: int, attempt: int = 1, job_id: str = JOB) -> int:
    """Events of these types; `content` says its own number. The call opens the log when `floor` is 1."""
    new = [
        NewEvent({"type": kind, **({"content": f"{floor + at} "} if kind == "content" else {})})
        for at, kind in enumerate(types, 1)
    ]
    return log.append(job_id, attempt, new, floor=floor, mode=FIRST if floor == 1 else NEXT)


async def heard(hub: EventHub, after: int = 0, job_id: str = JOB) -> list[Event]:
    """Everything to the end."""
    async with asyncio.timeout(10):
        return [event async for event in hub.follow(job_id, after) if event is not None]


@asynccontextmanager
async def following(hub: EventHub, after: int = 0, job_id: str = JOB) -> AsyncIterator[list[Event]]:
    """A listener in the background: the list grows as it hears."""
    found: list[Event] = []

    async def listen() -> None:
        async for event in hub.follow(job_id, after):
            if event is not None:
                found.append(event)

    task = asyncio.create_task(listen())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(found: Sequence[Event], count: int) -> None:
    await until_true(lambda: len(found) >= count, f"event {count}")


async def until_true(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for happens in Redis
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"gave up waiting for {what}") from None


def shape(events: Sequence[Event]) -> list[tuple[int, str]]:
    for event in events:
        body = orjson.loads(event.json)
        assert (body["sequence_number"], body["type"], body["job_id"]) == (event.seq, event.type, JOB)
    return [(event.seq, event.type) for event in events]


WHOLE = [(1, "queued"), (2, "started"), (3, "content"), (4, "content"), (5, "done")]


def whole(log: EventLog, rows: Rows) -> None:
    write(log, "started", "content", "content", "done", floor=1)
    rows.end(5)
