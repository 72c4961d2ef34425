"""Hundreds of connections that listen to jobs and count what they hear, in a process of their own (see
benchmarks.processes.Peer)."""

from __future__ import annotations

import asyncio
import threading
from itertools import cycle, islice

import uvloop

_LIMIT_S = 60.0


class _Ear(asyncio.Protocol):
    """An event begins with `id: `, and that is in nothing else the stream holds."""

    def __init__(self, opened: asyncio.Future[None]) -> None:
        self.opened = opened
        self.heard = 0

    def data_received(self, data: bytes) -> None:
        self.heard += data.count(b"id: ")
        if not self.opened.done():
            if data.startswith(b"HTTP/1.1 200 "):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(RuntimeError(f"not listening: {data[:200]!r}"))


class _Crowd:
    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._ears: list[tuple[asyncio.BaseTransport, _Ear]] = []
        threading.Thread(target=self._loop.run_forever, name="listeners", daemon=True).start()

    def open(self, port: int, jobs: list[str], count: int) -> None:
        asyncio.run_coroutine_threadsafe(self._open(port, jobs, count), self._loop).result(_LIMIT_S)

    async def _open(self, port: int, jobs: list[str], count: int) -> None:
        few = asyncio.Semaphore(16)

        async def open_one(job: str) -> None:
            async with few:
                ear = _Ear(self._loop.create_future())
                transport, _ = await self._loop.create_connection(lambda: ear, "127.0.0.1", port)
                self._ears.append((transport, ear))
                transport.write(f"GET /api/jobs/{job}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                await ear.opened

        await asyncio.gather(*map(open_one, islice(cycle(jobs), count)))

    def heard(self) -> int:
        return sum(ear.heard for _, ear in self._ears)

    def close(self) -> None:
        ears, self._ears = self._ears, []
        for transport, _ in ears:
            self._loop.call_soon_threadsafe(transport.close)


_crowd = _Crowd()


def listen(port: int, jobs: list[str], count: int) -> None:
    """Open `count` connections, spread over the jobs; returns when all of them hear."""
    _crowd.open(port, jobs, count)


def heard() -> int:
    """Events, by all together, since they listen."""
    return _crowd.heard()


def leave() -> None:
    _crowd.close()
