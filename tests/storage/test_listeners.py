"""The reading side of the event log: replay, then live, over one connection for everybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest
import redis

from config.settings import reset_settings
from storage import listeners
from storage.events import (
    FIRST,
    NEXT,
    RESTART,
    Event,
    EventLog,
    NewEvent,
    channel,
    meta_key,
    render,
    stream_key,
    terminal_fields,
)
from storage.listeners import EventHub, RowState, bridged

pytestmark = pytest.mark.anyio
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


# --- gaps


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


# --- the one connection


def subscriptions(client: redis.Redis) -> dict[str, int]:
    """Channels of jobs that somebody is subscribed to, and by how many connections."""
    names = [name for name in client.pubsub_channels() if name != b"bc:live"]
    return {name.decode(): number for name, number in client.pubsub_numsub(*names)} if names else {}


async def test_many_listeners_share_one_connection(
    hub: EventHub, log: EventLog, rows: Rows, client: redis.Redis
) -> None:
    before = len(client.client_list())
    jobs = [f"job-{number}" for number in range(100)]
    found: list[str] = []

    async def listen(job_id: str) -> None:
        events = await heard(hub, job_id=job_id)
        found.append(events[-1].type)

    tasks = [asyncio.create_task(listen(job_id)) for job_id in jobs for _ in range(2)]
    await until_true(lambda: len(subscriptions(client)) == 100 and rows.asked >= 200, "all channels")
    assert hub.listeners == 200
    assert set(subscriptions(client).values()) == {1}
    assert len(client.client_list(_type="pubsub")) == 1
    for job_id in jobs:
        rows.end(3, job_id=job_id)
        write(log, "started", "done", floor=1, job_id=job_id)
    await asyncio.gather(*tasks)
    assert found == ["done"] * 200
    assert len(client.client_list()) - before < 10, "replays share a few connections"
    await until_true(lambda: not subscriptions(client), "the channels to be left")
    assert hub.listeners == 0


async def test_a_listener_that_is_cancelled_leaves_nothing_behind(
    hub: EventHub, log: EventLog, client: redis.Redis
) -> None:
    """At any moment of its life, and without harm to the others."""
    async with following(hub) as others:
        await until(others, 1)
        for ticks in range(25):
            task = asyncio.create_task(heard(hub, job_id=f"job-{ticks}"))
            for _ in range(ticks):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await until_true(lambda: list(subscriptions(client)) == [channel(JOB)], "the channels to be left")
        assert hub.listeners == 1
        (connection,) = client.client_list(_type="pubsub")
        write(log, "started", floor=1)
        await until(others, 2)
        assert client.client_list(_type="pubsub")[0]["id"] == connection["id"]
    await until_true(lambda: not subscriptions(client), "the last channel to be left")
    assert hub._confirmed == {}
    assert hub._live == set()


async def test_a_listener_that_comes_as_another_leaves_is_subscribed(
    hub: EventHub, log: EventLog, client: redis.Redis
) -> None:
    for turn in range(5):
        async with following(hub) as found:
            await until(found, 1 + turn)
            write(log, "content", floor=max(1, log.last(JOB)))
            await until(found, 2 + turn)
    assert shape(found)[-1] == (6, "content")


async def test_a_lost_channel_is_built_again(
    hub: EventHub, log: EventLog, rows: Rows, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "RECONNECT_PAUSE_S", 0.05)
    async with following(hub) as found:
        await until(found, 1)
        write(log, "started", floor=1)
        await until(found, 2)
        (lost,) = client.client_list(_type="pubsub")
        client.client_kill_filter(_type="pubsub")
        write(log, "content", floor=2)  # said while nobody is subscribed
        await until_true(lambda: subscriptions(client) == {channel(JOB): 1}, "the channel")
        await until(found, 3)
        write(log, "content", floor=3)
        await until(found, 4)
        rows.end(5)
        write(log, "done", floor=4)
        await until(found, 5)
        assert client.client_list(_type="pubsub")[0]["id"] != lost["id"]
    assert shape(found) == WHOLE


async def test_the_hub_starts_without_redis(settings: pytest.MonkeyPatch, rows: Rows) -> None:
    settings.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
    reset_settings()
    settings.setattr(listeners, "CONFIRM_S", 0.01)
    hub = EventHub(rows.read)
    await hub.start()
    rows.end(9, result={"content": "all of it"})
    assert [event.type for event in await heard(hub)] == ["queued", "reset", "content", "done"]
    await hub.stop()


async def test_a_hub_that_closes_lets_everybody_go(hub: EventHub, log: EventLog, rows: Rows) -> None:
    """The web process stops: open streams end without an end of their own, and their clients come back."""
    write(log, "started", "content", floor=1)
    listening = [asyncio.create_task(heard(hub, after)) for after in (0, 2)]
    await until_true(lambda: hub.listeners == 2 and rows.asked >= 2, "both listeners")
    hub.close()
    heard_all, heard_some = await asyncio.gather(*listening)
    assert shape(heard_all) == WHOLE[:3]
    assert shape(heard_some) == WHOLE[2:3]
    assert hub.listeners == 0
    assert shape(await heard(hub, 1)) == WHOLE[1:3]
