"""A bounded HTTP load for a process of its own: keep-alive connections that each send the next request at once."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class _Run:
    """What the connections share."""

    request: bytes
    left: int
    open: int
    finished: asyncio.Future[None]
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def start(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self.send_next()

    def send_next(self) -> None:
        assert self._transport is not None
        if self._run.left == 0:
            self._transport.close()
            return
        self._run.left -= 1
        self._sent_at = time.perf_counter()
        self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head_end)
        if length is None:
            self._fail("an answer without Content-Length")
            return
        if len(self._buffer) < head_end + 4 + int(length[1]):
            return
        self._run.seconds.append(time.perf_counter() - self._sent_at)
        self._run.statuses[self._buffer[9:12].decode()] += 1
        self._buffer = b""
        self.send_next()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.open -= 1
        if self._run.left:
            self._fail(f"connection lost: {error}")
        elif self._run.open == 0 and not self._run.finished.done():
            self._run.finished.set_result(None)

    def _fail(self, why: str) -> None:
        if not self._run.finished.done():
            self._run.finished.set_exception(RuntimeError(why))


def post_many(
    port: int, path: str, body: str, requests: int, connections: int, limit_s: float = 120.0
) -> dict[str, Any]:
    """POST `requests` times over `connections`; {seconds, latencies_ms, statuses}."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        run, seconds = runner.run(_post_many(port, request, requests, connections, limit_s))
    return {"seconds": seconds, "latencies_ms": [1000 * value for value in run.seconds], "statuses": run.statuses}


async def _post_many(port: int, request: bytes, requests: int, connections: int, limit_s: float) -> tuple[_Run, float]:
    loop = asyncio.get_running_loop()
    run = _Run(request, requests, connections, loop.create_future())
    opened = [await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port) for _ in range(connections)]
    started = time.perf_counter()
    for transport, connection in opened:
        connection.start(transport)
    async with asyncio.timeout(limit_s):
        await run.finished
    return run, time.perf_counter() - started
