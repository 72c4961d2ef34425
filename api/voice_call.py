"""One connection of /ws/voice: what its parts share, and how much may wait in it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from litestar import WebSocket
from redis.exceptions import RedisError

from api.auth import Caller
from config.errors import Unavailable
from config.settings import Settings
from storage.connections import SOCKET_TIMEOUT_S
from storage.listeners import EventHub
from storage.voice_lines import MAX_ENTRY_BYTES, Line, LineHub

# Frames a client has not taken yet. Behind them the answer's log and the audio wait in Redis.
SEND_BUFFER = 64
# Of sound beyond the longest utterance that a line holds. An ear forgets none before an utterance has become a job:
# with less room than that, it would wait for the end of what the client is not let say.
SPARE_S = 60.0
# What an entry takes in Redis beside its sound, so that the smallest ones are not free.
ENTRY_COST = 64
LOOK_AGAIN_S = 0.05
REDIS_PATIENCE_S = 15.0  # as long as it may take to start again

T = TypeVar("T")
Socket = WebSocket[Caller, Any, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """To the client. `sound_of`: the turn; its sound is dropped once it is cut short."""

    data: bytes
    sound_of: str | None = None
    told: dict[str, Any] | None = None  # what the ear is told when the client has it


class Backlog:
    """Bytes of a line's sound that are no job yet: the entries that its stream still holds, the newest ones."""

    def __init__(self, limit: float) -> None:
        self._limit, self._sizes, self.bytes = limit, deque[int](), 0

    @property
    def is_full(self) -> bool:
        return self.bytes > self._limit

    def add(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_ENTRY_BYTES):
            self._sizes.append(min(len(data) - start, MAX_ENTRY_BYTES) + ENTRY_COST)
            self.bytes += self._sizes[-1]

    def keep(self, entries: int) -> None:
        while len(self._sizes) > entries:
            self.bytes -= self._sizes.popleft()


@dataclass(slots=True)
class Call:
    """One connection."""

    socket: Socket
    settings: Settings
    line: Line
    backlog: Backlog
    outgoing: asyncio.Queue[Frame] = field(default_factory=lambda: asyncio.Queue(SEND_BUFFER))
    turns: asyncio.Queue[tuple[str, int]] = field(default_factory=asyncio.Queue)
    known: set[str] = field(default_factory=set)  # turns that were told, or will be
    cut: set[str] = field(default_factory=set)  # turns whose sound is not sent any more
    now: str | None = None  # the turn that is being told

    @property
    def lines(self) -> LineHub:
        found: LineHub = self.socket.app.state.lines
        return found

    @property
    def hub(self) -> EventHub:
        found: EventHub = self.socket.app.state.hub
        return found

    async def say(self, **event: Any) -> None:
        await self.outgoing.put(Frame(msgspec.json.encode(event)))

    async def tell_ear(self, control: dict[str, Any]) -> None:
        await insist(lambda: self.lines.send_control(self.line.id, control))

    def will_tell(self, job_id: str, after: int = 0) -> None:
        """Once: an ear may tell of a turn that the client came back for, and Redis what it told before."""
        if job_id not in self.known:
            self.known.add(job_id)
            self.turns.put_nowait((job_id, after))


class Close(Exception):
    """Ends the connection with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


async def insist(ask: Callable[[], Awaitable[T]], patience_s: float | None = None) -> T:
    """Redis may be away for a moment, and the client waits. Raises Unavailable."""
    give_up = time.monotonic() + (REDIS_PATIENCE_S if patience_s is None else patience_s)
    while True:
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                return await ask()
        except (
            RedisError,
            OSError,
        ) as error:  # TimeoutError is one: what hangs may have done it, so it is not repeated
            if isinstance(error, TimeoutError) or time.monotonic() >= give_up:
                raise Unavailable("Redis cannot be reached right now; connect again in a moment.") from error
            await asyncio.sleep(LOOK_AGAIN_S)
