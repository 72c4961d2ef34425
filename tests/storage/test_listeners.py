"""The reading side of the event log: replay, then live, to the end that the row knows."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import orjson
import pytest
import redis

from config.settings import reset_settings
from storage import listeners
from storage.events import (
    FIRST,
    EventLog,
    NewEvent,
)
from storage.listeners import EventHub, RowState
from tests.storage.listening import (
    JOB,
    WHOLE,
    Rows,
    client,
    following,
    heard,
    hub,
    log,
    rows,
    shape,
    until,
    until_true,
    whole,
    write,
)

__all__ = ["client", "hub", "log", "rows"]
pytestmark = pytest.mark.anyio


# --- replay and live


async def test_a_late_listener_hears_everything(hub: EventHub, log: EventLog, rows: Rows) -> None:
    whole(log, rows)
    assert shape(await heard(hub)) == WHOLE


async def test_a_listener_goes_on_from_the_middle(hub: EventHub, log: EventLog, rows: Rows) -> None:
    whole(log, rows)
    for after in range(5):
        assert shape(await heard(hub, after)) == WHOLE[after:]


async def test_who_has_the_end_hears_nothing_more(hub: EventHub, log: EventLog, rows: Rows) -> None:
    whole(log, rows)
    assert await heard(hub, 5) == []
    assert await heard(hub, 10**14) == []


async def test_a_live_listener_hears_events_as_they_are_written(hub: EventHub, log: EventLog, rows: Rows) -> None:
    async with following(hub) as found:
        await until(found, 1)
        write(log, "started", floor=1)
        await until(found, 2)
        write(log, "content", "content", floor=2)
        await until(found, 4)
        rows.end(5)
        write(log, "done", floor=4)
        await until(found, 5)
        assert shape(found) == WHOLE


async def test_two_listeners_hear_the_same(hub: EventHub, log: EventLog, rows: Rows) -> None:
    async with following(hub) as first, following(hub, 2) as second:
        await until(first, 1)
        write(log, "started", "content", floor=1)
        await until(first, 3)
        await until(second, 1)
        rows.end(5)
        write(log, "content", "done", floor=3)
        await until(first, 5)
        await until(second, 3)
    assert shape(first) == WHOLE
    assert shape(second) == WHOLE[2:]


async def test_a_long_log_is_replayed_in_batches(
    hub: EventHub, log: EventLog, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "REPLAY_BATCH", 7)
    write(log, "started", *["content"] * 27, "done", floor=1)
    rows.end(30)
    assert [event.seq for event in await heard(hub)] == list(range(1, 31))


async def test_a_slow_listener_reads_what_it_missed_from_the_stream(
    hub: EventHub, log: EventLog, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "BUFFER_EVENTS", 10)
    async with asyncio.timeout(10), aclosing(hub.follow(JOB)) as events:
        found = [await anext(events)]
        write(log, "started", floor=1)
        found.append(await anext(events))
        # Nobody takes events meanwhile: the channel brings forty, memory keeps the last of them.
        for at in range(40):
            write(log, "content", floor=2 + at)
        (listener,) = hub._listeners[JOB]
        await until_true(lambda: listener.pending and listener.pending[-1].seq == 42, "the last of them")
        assert len(listener.pending) < 40
        rows.end(43)
        write(log, "done", floor=42)
        found += [event async for event in events if event is not None]
    assert [event.seq for event in found] == list(range(1, 44))


async def test_silence_is_told_as_heartbeats(
    hub: EventHub, settings: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "RECHECK_S", 0.01)
    settings.setenv("SSE_HEARTBEAT_S", "0.02")
    reset_settings()
    async with asyncio.timeout(10), aclosing(hub.follow(JOB, 1)) as events:
        assert await anext(events) is None
        assert await anext(events) is None


# --- what the row knows and the log does not


async def test_an_end_that_is_only_in_the_row(hub: EventHub, log: EventLog, rows: Rows) -> None:
    """The writer died between the commit and the log."""
    write(log, "started", "content", "content", floor=1)
    rows.end(5)
    assert shape(await heard(hub)) == WHOLE


async def test_an_end_that_comes_only_to_the_row(
    hub: EventHub, log: EventLog, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "RECHECK_S", 0.05)
    async with following(hub) as found:
        write(log, "started", "content", "content", floor=1)
        await until(found, 4)
        rows.end(5)
        await until(found, 5)
    assert shape(found) == WHOLE


async def test_an_end_whose_number_the_log_has_used(hub: EventHub, log: EventLog, rows: Rows) -> None:
    write(log, "started", "content", "content", floor=1)
    rows.end(3, "cancelled")
    assert shape(await heard(hub))[-1] == (5, "cancelled")


async def test_a_log_past_its_life_leaves_the_answer(hub: EventHub, rows: Rows) -> None:
    rows.end(9, result={"content": "all of it"})
    events = await heard(hub)
    assert shape(events) == [(1, "queued"), (7, "reset"), (8, "content"), (9, "done")]
    assert orjson.loads(events[2].json)["content"] == "all of it"


async def test_a_log_lost_under_a_listener(hub: EventHub, log: EventLog, rows: Rows, client: redis.Redis) -> None:
    """It has half of the answer and nobody writes the rest: it hears the whole anew."""
    write(log, "started", "content", "content", floor=1)
    client.flushall()
    rows.end(20, result={"content": "all of it"})
    assert shape(await heard(hub, 4)) == [(18, "reset"), (19, "content"), (20, "done")]
    assert shape(await heard(hub, 19)) == [(20, "done")]


async def test_ends_without_an_answer_say_that_the_log_was_lost(hub: EventHub, rows: Rows) -> None:
    rows.end(9, "failed")
    assert shape(await heard(hub, 3)) == [(8, "reset"), (9, "error")]


async def test_a_retried_jobs_first_end_is_a_step(hub: EventHub, log: EventLog, rows: Rows) -> None:
    write(log, "started", "error", floor=1)
    log.try_append_end(JOB, 1, {"type": "queued"}, 4)
    rows.states[JOB] = RowState(4, None)
    async with following(hub) as found:
        await until(found, 4)
        body = orjson.loads(found[2].json)
        assert (found[2].seq, body["type"], body["status"]) == (3, "status", "failed")
        log.append(JOB, 2, [NewEvent({"type": "started"})], floor=4, mode=FIRST)
        rows.end(6)
        log.append(JOB, 2, [NewEvent({"type": "done"})], floor=5)
        await until(found, 6)
    assert [event.type for event in found] == ["queued", "started", "status", "queued", "started", "done"]


async def test_a_job_retried_while_somebody_listens(hub: EventHub, log: EventLog, rows: Rows) -> None:
    """The row said `failed` when the listener came; by the time it has read the log the job is queued again."""
    write(log, "started", "error", floor=1)
    rows.end(3, "failed")
    reads = rows.read

    async def retried_meanwhile(job_id: str) -> RowState:
        state = await reads(job_id)
        rows.states[JOB] = RowState(4, None)
        return state

    hub._read_row = retried_meanwhile
    async with following(hub) as found:
        await until(found, 3)
        log.try_append_end(JOB, 1, {"type": "queued"}, 4)
        await until(found, 4)
    assert [event.type for event in found] == ["queued", "started", "status", "queued"]
