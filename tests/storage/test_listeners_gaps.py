"""What a listener missed is read from the stream, or told by a reset."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from storage import listeners
from storage.events import (
    RESTART,
    Event,
    EventLog,
    NewEvent,
    meta_key,
    render,
    stream_key,
)
from storage.listeners import EventHub, bridged
from tests.storage.listening import (
    JOB,
    WHOLE,
    Rows,
    client,
    following,
    hub,
    log,
    rows,
    shape,
    until,
    until_true,
    write,
)

__all__ = ["client", "hub", "log", "rows"]
pytestmark = pytest.mark.anyio


def test_what_follows_on_passes() -> None:
    for event in (
        render(JOB, 5, {"type": "content", "content": "x"}),
        render(JOB, 5, {"type": "done", "response": None}),
    ):
        assert bridged(4, event) == [event]
    far = render(JOB, 50, {"type": "reset"})
    assert bridged(4, far) == [far]


@pytest.mark.parametrize("last", range(1, 12))
@pytest.mark.parametrize("kind", ["done", "cancelled", "content"])
def test_a_gap_is_told_by_a_reset_right_behind_it(last: int, kind: str) -> None:
    response = {"response": {"content": "whole"}} if kind == "done" else {}
    steps = bridged(last, render(JOB, 10, {"type": kind, **response}))
    numbers = [step.seq for step in steps]
    assert numbers[0] > last
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert steps[-1].type == kind
    shape(steps)
    if last < 9:
        assert steps[0].type == "reset"
        assert ("content" in [step.type for step in steps]) == (kind in ("done", "content"))


async def test_a_gap_in_memory_is_filled_from_the_stream(
    hub: EventHub, log: EventLog, rows: Rows, client: redis.Redis
) -> None:
    async with following(hub) as found:
        await until(found, 1)
        write(log, "started", floor=1)
        await until(found, 2)
        await until_true(lambda: JOB in hub._live, "the channel")
        hub._live.clear()
        (listener,) = hub._listeners[JOB]
        listener.pending.clear()
        client.xadd(stream_key(JOB), {"t": "content", "d": _json(3, "content", content="a"), "r": ""}, id="3-0")
        client.hset(meta_key(JOB), "seq", 3)
        write(log, "content", floor=3)
        await until(found, 4)
    assert shape(found) == WHOLE[:4]


def _json(seq: int, kind: str, **fields: Any) -> bytes:
    return render(JOB, seq, {"type": kind, **fields}).json


async def test_a_gap_that_cannot_be_read_now_is_no_loss(
    hub: EventHub, log: EventLog, rows: Rows, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis does not answer while memory has a hole: the listener waits instead of believing its log lost."""
    monkeypatch.setattr(listeners, "RECHECK_S", 0.05)
    async with following(hub) as found:
        await until(found, 1)
        write(log, "started", floor=1)
        await until(found, 2)
        (listener,) = hub._listeners[JOB]
        replay, refused = hub._replay, []

        async def away(job_id: str, last: int) -> AsyncIterator[Event]:
            refused.append(last)
            raise redis.ConnectionError
            yield

        monkeypatch.setattr(hub, "_replay", away)
        for kind in ("content", "content"):
            write(log, kind, floor=log.last(JOB))
        await until_true(lambda: len(listener.pending) or len(found) == 4, "the channel")
        listener.pending.clear()
        rows.end(5)
        monkeypatch.setattr(hub, "_replay", replay)
        write(log, "done", floor=4)
        await until(found, 5)
    assert shape(found) == WHOLE


async def test_a_log_emptied_while_it_is_being_read(
    hub: EventHub, log: EventLog, rows: Rows, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said just before is in memory, and the stream begins behind it: both are heard, in order."""
    assert hub._redis is not None
    really, unhappened = hub._redis.xrange, [True]

    async def emptied(*given: Any, **options: Any) -> Any:
        if unhappened:
            unhappened.clear()
            write(log, "content", "content", floor=2)
            client.flushall()
            log.append(JOB, 1, [NewEvent({"type": "reset"})], floor=4, mode=RESTART)
            (listener,) = hub._listeners[JOB]
            await until_true(lambda: len(listener.pending) >= 3, "the channel")
        return await really(*given, **options)

    write(log, "started", floor=1)
    monkeypatch.setattr(hub._redis, "xrange", emptied)
    async with following(hub, 2) as found:
        await until(found, 3)
    assert shape(found) == [(3, "content"), (4, "content"), (5, "reset")]


async def test_a_listener_that_keeps_up_does_not_read_the_stream(
    hub: EventHub, log: EventLog, client: redis.Redis
) -> None:
    async with following(hub) as found:
        await until(found, 1)
        write(log, "started", floor=1)
        await until(found, 2)
        client.config_resetstat()
        for at in range(100):
            write(log, "content", floor=2 + at)
        await until(found, 102)
    assert client.info("commandstats").get("cmdstat_xrange", {"calls": 0})["calls"] <= 1
