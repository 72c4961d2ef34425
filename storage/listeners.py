"""Readers of event logs: replay from the stream, then follow live. One pub/sub connection serves the whole process.

The live channel only makes things quick. Whatever it loses (a dropped connection, a slow listener, an emptied Redis) is
noticed by its number and read again from the stream, and the row has the last word about the end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
import redis.asyncio
from redis.exceptions import RedisError

from config.logging import log
from config.settings import get_settings
from storage.connections import async_redis_client
from storage.events import Event, channel, parse_entry, parse_live, render, stream_key

# A listener this far behind is not sent what it missed from memory; it reads it from the stream when it is ready.
BUFFER_EVENTS = 1000
REPLAY_BATCH = 500
# How long a silent listener trusts the channel before it looks at stream and row itself.
RECHECK_S = 5.0


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

    def push(self, event: Event) -> None:
        self.pending.append(event)
        self.wake.set()


class EventHub:
    """`follow` is the only way to read a log: late subscriber, reconnect and live listener are the same path."""

    def __init__(self, read_row: RowReader) -> None:
        self._read_row = read_row
        self._listeners: dict[str, set[_Listener]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._redis: redis.asyncio.Redis | None = None
        self._pubsub: redis.asyncio.client.PubSub | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._redis = async_redis_client()
        self._task = asyncio.create_task(self._run(), name="event-hub")

    async def stop(self) -> None:
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
        listener = await self._join(job_id)
        try:
            last, silent_s, checked = after, 0.0, 0.0
            if last < 1:
                yield (event := render(job_id, 1, {"type": "queued"}))
                last = event.seq
            row = await self._read_row(job_id)
            while True:
                listener.wake.clear()
                async for event in self._catch_up(job_id, last, listener):
                    last, silent_s = event.seq, 0.0
                    if not event.is_terminal:
                        yield event
                        continue
                    row = await self._read_row(job_id)
                    if row.terminal is not None and event.seq >= row.terminal.seq:
                        yield event
                        return
                    yield _superseded(event)  # a retried job: its first end is only a step now
                if checked:
                    row, checked = await self._read_row(job_id), 0.0
                if row.terminal is not None:
                    if after < row.terminal.seq:
                        # It has ended and the log does not say so: expired, emptied, or its writer died in between.
                        yield row.terminal if last < row.terminal.seq else renumbered(row.terminal, last + 1)
                    return
                try:
                    await asyncio.wait_for(listener.wake.wait(), RECHECK_S)
                except TimeoutError:
                    silent_s, checked = silent_s + RECHECK_S, 1.0
                    if silent_s >= get_settings().sse_heartbeat_s:
                        silent_s = 0.0
                        yield None
        finally:
            await self._leave(job_id, listener)

    async def _catch_up(self, job_id: str, last: int, listener: _Listener) -> AsyncIterator[Event]:
        """What is new after `last`: from memory while it follows on, else from the stream."""
        if not (listener.pending and listener.pending[0].seq <= last + 1):
            async for event in self._replay(job_id, last):
                last = event.seq
                yield event
        while listener.pending:
            event = listener.pending.popleft()
            if event.seq <= last:
                continue
            if event.seq > last + 1:
                async for missed in self._replay(job_id, last):
                    last = missed.seq
                    yield missed
                if event.seq <= last:
                    continue
            last = event.seq
            yield event

    async def _replay(self, job_id: str, last: int) -> AsyncIterator[Event]:
        assert self._redis is not None
        while True:
            try:
                entries: Any = await self._redis.xrange(stream_key(job_id), min=f"{last + 1}-0", count=REPLAY_BATCH)
            except RedisError:
                return  # the row answers meanwhile, and the next recheck looks again
            for entry in entries:
                event = parse_entry(entry)
                last = event.seq
                yield event
            if len(entries) < REPLAY_BATCH:
                return

    # --- the one connection

    async def _join(self, job_id: str) -> _Listener:
        listener = _Listener()
        first = job_id not in self._listeners
        self._listeners.setdefault(job_id, set()).add(listener)
        confirmed = self._confirmed.setdefault(job_id, asyncio.Event())
        if first and self._pubsub is not None:
            with suppress(RedisError, OSError):  # the loop below rebuilds the connection with every channel
                await self._pubsub.subscribe(channel(job_id))
        with suppress(TimeoutError):  # without it the recheck finds what the channel would have told
            await asyncio.wait_for(confirmed.wait(), 1.0)
        return listener

    async def _leave(self, job_id: str, listener: _Listener) -> None:
        listeners = self._listeners.get(job_id, set())
        listeners.discard(listener)
        if not listeners and self._listeners.pop(job_id, None) is not None:
            self._confirmed.pop(job_id, None)
            if self._pubsub is not None:
                with suppress(RedisError, OSError):
                    await self._pubsub.unsubscribe(channel(job_id))

    async def _run(self) -> None:
        assert self._redis is not None
        while True:
            # ping keeps the subscription non-empty, so that reading it is always allowed
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe("bc:live", *(channel(job_id) for job_id in self._listeners))
                self._pubsub = pubsub
                self._wake_all()
                while True:
                    message = await pubsub.get_message(timeout=1.0)
                    if message is not None:
                        self._dispatch(message)
            except (RedisError, OSError) as error:
                log.warning("event channel lost; reading logs directly until it is back", reason=type(error).__name__)
                await asyncio.sleep(0.5)
            finally:
                self._pubsub = None
                for confirmed in self._confirmed.values():
                    confirmed.clear()
                with suppress(RedisError, OSError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]

    def _dispatch(self, message: dict[str, Any]) -> None:
        job_id = message["channel"].decode().rpartition(":")[2]
        if message["type"] == "subscribe":
            if confirmed := self._confirmed.get(job_id):
                confirmed.set()
        elif message["type"] == "message":
            event = parse_live(message["data"])
            for listener in self._listeners.get(job_id, ()):
                listener.push(event)

    def _wake_all(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.wake.set()


def renumbered(event: Event, seq: int) -> Event:
    return render((fields := orjson.loads(event.json)).pop("job_id"), seq, fields)


def _superseded(event: Event) -> Event:
    fields = orjson.loads(event.json)
    ended = {"error": "failed", "cancelled": "cancelled", "done": "succeeded"}[event.type]
    return render(fields["job_id"], event.seq, {"type": "status", "status": ended, "error": fields.get("code")})
