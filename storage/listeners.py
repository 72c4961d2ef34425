"""Readers of event logs: replay from the stream, then follow live. One pub/sub connection serves the whole process.

The live channel only makes things quick. Whatever it loses (a dropped connection, a slow listener, an emptied Redis) is
noticed by its number and read again from the stream, and the row has the last word about the end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
import redis.asyncio
from redis.exceptions import RedisError

from config.logging import log
from config.settings import get_settings
from storage.connections import SOCKET_TIMEOUT_S, async_redis_client
from storage.events import Event, channel, parse_entry, parse_live, render, stream_key

# A listener this far behind is not sent what it missed from memory; it reads it from the stream when it is ready.
BUFFER_EVENTS = 1000
REPLAY_BATCH = 500
# How long a silent listener trusts the channel before it looks at stream and row itself.
RECHECK_S = 5.0
# How long a new listener waits for its channel before it reads without it, and how long a lost one is left alone.
CONFIRM_S = 1.0
RECONNECT_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class RowState:
    """What the row says: the last event number, and the terminal event once there is one."""

    event_seq: int
    terminal: Event | None


RowReader = Callable[[str], Awaitable[RowState]]


@dataclass(eq=False, slots=True)
class _Listener:
    pending: deque[Event] = field(default_factory=lambda: deque(maxlen=BUFFER_EVENTS))
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    unsure: bool = True  # something may have been said that is not in `pending`

    def push(self, event: Event) -> None:
        self.pending.append(event)
        self.wake.set()

    def look(self) -> None:
        self.unsure = True
        self.wake.set()

    def following(self, last: int) -> Iterator[Event]:
        """What memory holds directly behind `last`."""
        while self.pending and self.pending[0].seq <= last + 1:
            event = self.pending.popleft()
            if event.seq > last:
                last = event.seq
                yield event


class EventHub:
    """`follow` is the only way to read a log: late subscriber, reconnect and live listener are the same path."""

    def __init__(self, read_row: RowReader) -> None:
        self._read_row = read_row
        self._listeners: dict[str, set[_Listener]] = {}
        self._changed = asyncio.Event()  # somebody joined or left: the subscription has to follow
        self._live: set[str] = set()  # jobs whose channel Redis has confirmed …
        self._confirmed: dict[str, asyncio.Event] = {}  # … and how listeners wait for that
        self._redis: redis.asyncio.Redis | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def start(self) -> None:
        self._redis = async_redis_client()
        self._task = asyncio.create_task(self._run(), name="event-hub")

    def close(self) -> None:
        """End every `follow` now, without a terminal event: who listens comes back and asks whoever serves next."""
        self._closing = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.wake.set()

    async def stop(self) -> None:
        self.close()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._redis is not None:
            await self._redis.aclose()

    @property
    def listeners(self) -> int:
        return sum(len(listeners) for listeners in self._listeners.values())

    async def follow(self, job_id: str, after: int = 0) -> AsyncIterator[Event | None]:
        """Events numbered above `after`, in order, to the terminal one; None whenever nothing came for a heartbeat."""
        listener = self._join(job_id)
        try:
            await self._until_live(job_id)
            if after < 1:
                yield render(job_id, 1, {"type": "queued"})
            async for event in self._to_the_end(job_id, max(after, 1), listener):
                yield event
        finally:
            self._leave(job_id, listener)

    async def _to_the_end(self, job_id: str, after: int, listener: _Listener) -> AsyncIterator[Event | None]:
        last, silent_s = after, 0.0
        row = await self._read_row(job_id)
        while True:
            listener.wake.clear()
            async for event in self._catch_up(job_id, last, listener):
                if event.is_terminal:
                    row = await self._read_row(job_id)
                steps = bridged(last, _superseded(event) if _was_retried(event, row) else event)
                last, silent_s = steps[-1].seq, 0.0
                for step in steps:
                    yield step
                if steps[-1].is_terminal:
                    return
            if row.terminal is not None:
                # It has ended and the log does not say so: expired, emptied, or its writer died in between.
                for step in bridged(last, row.terminal) if after < row.terminal.seq else ():
                    yield step
                return
            if self._closing:
                return
            try:
                pause_s = min(RECHECK_S, get_settings().sse_heartbeat_s)
                async with asyncio.timeout(pause_s):  # not wait_for: on Python 3.11 it may swallow a cancellation
                    await listener.wake.wait()
            except TimeoutError:
                row = await self._read_row(job_id)
                listener.unsure = True
                silent_s += pause_s
                if silent_s >= get_settings().sse_heartbeat_s:
                    silent_s = 0.0
                    yield None

    async def _catch_up(self, job_id: str, last: int, listener: _Listener) -> AsyncIterator[Event]:
        """What is new after `last`: from memory while it follows on; the stream is read where memory may have missed
        something."""
        while True:
            for event in listener.following(last):
                last = event.seq
                yield event
            if not (listener.unsure or listener.pending):
                return
            listener.unsure, before = False, last
            try:
                async for stored in self._replay(job_id, last):
                    for event in listener.following(last):  # heard while the stream was being read, or emptied
                        last = event.seq
                        yield event
                    if stored.seq > last:
                        last = stored.seq
                        yield stored
            except (RedisError, TimeoutError):
                listener.unsure = True  # the row answers meanwhile, and the next recheck looks again
                return
            if last == before and listener.pending and listener.pending[0].seq > last + 1:
                event = listener.pending.popleft()  # what lies before it is in the stream no more
                last = event.seq
                yield event

    async def _replay(self, job_id: str, last: int) -> AsyncIterator[Event]:
        assert self._redis is not None
        while True:
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                entries: Any = await self._redis.xrange(stream_key(job_id), min=f"{last + 1}-0", count=REPLAY_BATCH)
            for entry in entries:
                event = parse_entry(entry)
                last = event.seq
                yield event
            if len(entries) < REPLAY_BATCH:
                return

    # --- the one connection. Only the hub's own task talks to it: a listener cancelled in mid-command would close it.

    def _join(self, job_id: str) -> _Listener:
        listener = _Listener()
        self._listeners.setdefault(job_id, set()).add(listener)
        self._changed.set()
        return listener

    async def _until_live(self, job_id: str) -> None:
        """Wait until the channel carries this job's events; without it the recheck finds what it would have told."""
        if job_id not in self._live:
            confirmed = self._confirmed.setdefault(job_id, asyncio.Event())
            with suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_S):
                    await confirmed.wait()

    def _leave(self, job_id: str, listener: _Listener) -> None:
        listeners = self._listeners[job_id]
        listeners.discard(listener)
        if not listeners:
            del self._listeners[job_id]
            self._confirmed.pop(job_id, None)
            self._changed.set()

    async def _run(self) -> None:
        assert self._redis is not None
        while True:
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe("bc:live")  # keeps the subscription non-empty, so that reading is always allowed
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._keep_subscribed(pubsub))
                    group.create_task(self._read(pubsub))
            except* (RedisError, OSError) as errors:
                reason = type(errors.exceptions[0]).__name__
                log.warning("event channel lost; reading logs directly until it is back", reason=reason)
            except* Exception:
                log.exception("event channel failed; reading logs directly until it is back")
            finally:
                self._live.clear()
                self._confirmed.clear()
                with suppress(RedisError, OSError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _keep_subscribed(self, pubsub: redis.asyncio.client.PubSub) -> None:
        """Subscribed is what somebody listens to; joins and leaves of one moment go out together."""
        subscribed: set[str] = set()
        while True:
            self._changed.clear()
            wanted = set(self._listeners)
            if fresh := wanted - subscribed:
                await pubsub.subscribe(*map(channel, fresh))
            if stale := subscribed - wanted:
                self._live -= stale
                await pubsub.unsubscribe(*map(channel, stale))
            subscribed = wanted
            await self._changed.wait()

    async def _read(self, pubsub: redis.asyncio.client.PubSub) -> None:
        while True:
            message = await pubsub.get_message(timeout=1.0)
            if message is not None:
                self._dispatch(message)

    def _dispatch(self, message: dict[str, Any]) -> None:
        job_id = message["channel"].decode().rpartition(":")[2]
        listeners = self._listeners.get(job_id, ())
        if message["type"] == "subscribe" and listeners:
            self._live.add(job_id)
            if confirmed := self._confirmed.pop(job_id, None):
                confirmed.set()
            for listener in listeners:
                listener.look()  # what was said while the channel was away
        elif message["type"] == "message":
            event = parse_live(message["data"])
            for listener in listeners:
                listener.push(event)


def bridged(last: int, event: Event) -> list[Event]:
    """`event` as a listener that has come to `last` has to hear it. Where the log lost what lay in between, it is made
    up for: a reset, and the whole answer when this is the answer's end."""
    if event.seq <= last:
        return [renumbered(event, last + 1)]
    if event.seq == last + 1 or event.type == "reset":
        return [event]
    fields = orjson.loads(event.json)
    made_up: list[dict[str, Any]] = [{"type": "reset"}]
    if event.type == "done" and (said := (fields["response"] or {}).get("content")):
        made_up.append({"type": "content", "content": said})
    first = max(last + 1, event.seq - len(made_up))
    steps = [render(fields["job_id"], seq, step) for seq, step in enumerate(made_up, first)]
    end = first + len(made_up)
    return [*steps, event if event.seq == end else renumbered(event, end)]


def renumbered(event: Event, seq: int) -> Event:
    return render((fields := orjson.loads(event.json)).pop("job_id"), seq, fields)


def _was_retried(event: Event, row: RowState) -> bool:
    """True for an end that is only a step now."""
    return event.is_terminal and (row.terminal is None or event.seq < row.terminal.seq)


def _superseded(event: Event) -> Event:
    fields = orjson.loads(event.json)
    ended = {"error": "failed", "cancelled": "cancelled", "done": "succeeded"}[event.type]
    return render(fields["job_id"], event.seq, {"type": "status", "status": ended, "error": fields.get("code")})
