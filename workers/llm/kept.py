"""Connections to providers that are used again: a new one costs two round trips or three before a word is sent.

Each has a transport of its own, so that a request that goes out on one knows its socket, and can be hung up: httpx
tells a socket only while it connects. Keys travel in the requests; a connection belongs to an address, and to no key.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

# Providers close what is idle after a minute or more, and home routers forget it; one closed meanwhile is noticed.
KEPT_S = 60.0
MAX_IDLE = 16  # of one address; a crowd that has left leaves no more behind
# How long, and how far, an answer that is complete is read for its good-bye, without which its connection is of no use.
_REST_S, _REST_BYTES = 0.2, 65_536

Origin = tuple[str, str, int | None]
Use = Callable[[socket.socket | None], None]  # told which socket a request is on, and None once it is done with it


class Wire:
    """One connection: none before its first request, and a new one where the other side has closed it."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.idle_since = 0.0
        self._socket: socket.socket | None = None

    def handle_request(self, request: Any, use: Use) -> Any:
        use(self._socket)

        def trace(name: str, info: dict[str, Any]) -> None:
            if name.endswith(".response_closed.started"):
                use(None)  # from here on it may be another's
            elif (connected := connected_socket(info)) is not None:
                self._socket = connected
                use(connected)

        request.extensions["trace"] = trace
        return self.transport.handle_request(request)

    def hang_up(self) -> None:
        if self._socket is not None:
            shut_down(self._socket)

    def close(self) -> None:
        with suppress(Exception):
            self.transport.close()


class Wires:
    """All connections of one HTTP library (httpx, or httpx2 where an SDK has gone over to it), as a transport for any
    number of its clients. Closing a client closes none of them. Thread-safe."""

    def __init__(self, http: ModuleType, using: Callable[[], Use | None], *, verify: Any = None) -> None:
        """`using`: whom to tell of this thread's sockets. `verify`: other certificates than the usual."""
        self.http, self._using = http, using
        self.verify = http.create_ssl_context() if verify is None else verify
        self._stream = type("_KeptBody", (_Body, http.SyncByteStream), {})
        self._limits = http.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEPT_S)
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Wire]] = {}

    def handle_request(self, request: Any) -> Any:
        origin = (request.url.scheme, request.url.host, request.url.port)
        wire = self._take(origin)
        try:
            response = wire.handle_request(request, self._using() or _nobody)
        except BaseException:
            wire.close()
            raise
        response.stream = self._stream(response.stream, wire, lambda: self._give(origin, wire))
        return response

    def close(self) -> None:
        """A client's own good-bye."""

    __enter__ = __exit__ = lambda *_: None

    def close_idle(self) -> None:
        with self._lock:
            gone = [wire for wires in self._idle.values() for wire in wires]
            self._idle.clear()
        for wire in gone:
            wire.close()

    def _take(self, origin: Origin) -> Wire:
        self._drop_old()
        with self._lock:
            wires = self._idle.get(origin)
            if wires:
                return wires.pop()
        return Wire(self.http.HTTPTransport(verify=self.verify, limits=self._limits))

    def _give(self, origin: Origin, wire: Wire) -> None:
        wire.idle_since = time.monotonic()
        with self._lock:
            wires = self._idle.setdefault(origin, [])
            wires.append(wire)
            gone = wires.pop(0) if len(wires) > MAX_IDLE else None
        if gone is not None:
            gone.close()

    def _drop_old(self) -> None:
        oldest = time.monotonic() - KEPT_S
        with self._lock:
            gone = [wire for wires in self._idle.values() for wire in wires if wire.idle_since < oldest]
            for origin, wires in list(self._idle.items()):
                self._idle[origin] = [wire for wire in wires if wire.idle_since >= oldest]
                if not self._idle[origin]:
                    del self._idle[origin]
        for wire in gone:
            wire.close()


class _Body:
    """A response's body. SDKs close it at the last event, which is a few bytes before its end: those are read, too."""

    def __init__(self, stream: Any, wire: Wire, give_back: Callable[[], None]) -> None:
        self._stream, self._wire, self._give_back = stream, wire, give_back
        self._pieces: Iterator[bytes] = iter(stream)
        self._is_closed = self._is_whole = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            while (piece := self._next()) is not None:
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if not self._is_whole:
            with suppress(Exception):
                self._read_rest()
        self._stream.close()
        if self._is_whole:
            self._give_back()
        else:
            self._wire.close()

    def _next(self) -> bytes | None:
        piece = next(self._pieces, None)
        self._is_whole = piece is None
        return piece

    def _read_rest(self) -> None:
        late = threading.Timer(_REST_S, self._wire.hang_up)
        late.daemon = True
        late.start()
        read = 0
        try:
            while read <= _REST_BYTES and (piece := self._next()) is not None:
                read += len(piece)
        finally:
            late.cancel()


def connected_socket(info: dict[str, Any]) -> socket.socket | None:
    """Of what httpx's `trace` extension tells: the socket, once it is connected and again once TLS is around it."""
    ask = getattr(info.get("return_value"), "get_extra_info", None)
    found = None if ask is None else ask("socket")
    return found if isinstance(found, socket.socket) else None


def shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # the other side was quicker
        # not SSLSocket's own: it drops the state that a reading thread is using
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _nobody(_socket: socket.socket | None) -> None:
    pass
