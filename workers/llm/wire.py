"""One request's connection: its items are read in one thread, and another may hang up while nothing comes.

Closing a socket neither wakes the thread that waits in it nor tells the other side; shutting it down does both. Which
socket it is, httpx tells through its `trace` extension as soon as there is one: a model that thinks, or that a server
is still loading, sends no headers for minutes, and goes on (and is paid for) until its caller is gone.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any, TypeVar

from config.settings import Settings
from workers.llm.trouble import TryAgain
from workers.ports import Completion, Delta

Item = Delta | Completion
T = TypeVar("T")

_here = threading.local()


class Line:
    """What `RemoteModel._open` returns. `start` sends the request when its first item is asked for; the reading thread
    is the one that enters. Leaving it hangs up; closing is left to the reading thread, as the number of a socket that
    is closed under a reader is the next connection's."""

    def __init__(self, start: Callable[[], Generator[Item, None, None]]) -> None:
        self._start = start
        self._items: Generator[Item, None, None] | None = None
        self._reader = 0
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._hung_up = False

    def __enter__(self) -> Iterator[Item]:
        _here.line, self._reader = self, threading.get_ident()
        self._items = self._start()
        return self._items

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._hung_up = True
            self._shut_down()
        if self._items is not None and threading.get_ident() == self._reader:
            self._items.close()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # the other side was quicker
                # not SSLSocket's own: it drops the state that the reading thread is using
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _trace(self, name: str, info: dict[str, Any]) -> None:
        if name.endswith(".response_closed.started"):
            with self._lock:  # its number may be another's socket from here on
                self._socket = None
            return
        ask = getattr(info.get("return_value"), "get_extra_info", None)
        if ask is not None:  # connected, or TLS was put around it
            with self._lock:
                self._socket = ask("socket")
                if self._hung_up:
                    self._shut_down()


def readable(pieces: Iterable[T]) -> Iterator[T]:
    """The pieces as an SDK reads them. Raises TryAgain where one is none: SDKs ask rubbish for its fields, or put it
    into their types as it is."""
    try:
        yield from pieces
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise TryAgain("A part of the answer could not be read.") from error


def client_options(http: ModuleType, settings: Settings) -> dict[str, Any]:
    """What every client of `http` (httpx, or httpx2 where an SDK has gone over to it) is made with.

    A connection is used once: of one that was used before nothing tells which it is. Redirects are not followed, as
    they would carry the key elsewhere.
    """
    timeout = http.Timeout(settings.provider_silence_s, connect=settings.provider_connect_s, pool=None)

    def watch(request: Any) -> None:
        request.extensions["timeout"] = timeout.as_dict()  # google-genai asks for none at all
        line: Line | None = getattr(_here, "line", None)
        if line is not None:
            request.extensions["trace"] = line._trace

    return {
        "timeout": timeout,
        "limits": http.Limits(max_connections=None, max_keepalive_connections=0),
        "event_hooks": {"request": [watch]},
        "follow_redirects": False,
    }
