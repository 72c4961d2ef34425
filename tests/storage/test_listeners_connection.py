"""One connection to Redis for everybody who listens, however they come and go."""

from __future__ import annotations

import asyncio

import pytest
import redis

from config.settings import reset_settings
from storage import listeners
from storage.events import (
    EventLog,
    channel,
)
from storage.listeners import EventHub
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
    write,
)

__all__ = ["client", "hub", "log", "rows"]
pytestmark = pytest.mark.anyio


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
