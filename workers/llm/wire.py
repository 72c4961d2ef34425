"""One request's connection: its items are read in one thread, and another may hang up while nothing comes.

Closing a socket neither wakes the thread that waits in it nor tells the other side; shutting it down does both. Which
socket it is must be known before the headers: a model that thinks, or that a server is still loading, sends none for
minutes, and goes on (and is paid for) until its caller is gone.
"""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator
from types import ModuleType
from typing import Any, TypeVar

from config.settings import Settings
from workers.llm.kept import Use, Wires, connected_socket, shut_down
from workers.llm.trouble import TryAgain
from workers.ports import Completion, Delta

Item = Delta | Completion
T = TypeVar("T")

_here = threading.local()
_lock = threading.Lock()
_wires: dict[str, Wires] = {}  # by the name of the HTTP library


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

    def use(self, connection: socket.socket | None) -> None:
        """The socket that the request is on now; None once that may be another's."""
        with self._lock:
            self._socket = connection
            if self._hung_up:
                self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            shut_down(self._socket)

    def _trace(self, name: str, info: dict[str, Any]) -> None:
        if name.endswith(".response_closed.started"):
            self.use(None)
        elif (connected := connected_socket(info)) is not None:
            self.use(connected)


def readable(pieces: Iterable[T]) -> Iterator[T]:
    """The pieces as an SDK reads them. Raises TryAgain where one is none: SDKs ask rubbish for its fields, or put it
    into their types as it is."""
    try:
        yield from pieces
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise TryAgain("A part of the answer could not be read.") from error


def client_options(http: ModuleType, settings: Settings, wires: Wires | None = None) -> dict[str, Any]:
    """What every client of `http` (httpx, or httpx2 where an SDK has gone over to it) is made with.

    Connections are this process's, kept for all clients; those through a proxy are used once, as a proxy's transport is
    the library's own. Redirects are not followed, as they would carry the key elsewhere.
    """
    timeout = http.Timeout(settings.provider_silence_s, connect=settings.provider_connect_s, pool=None)
    wires = wires or _wires_of(http)

    def watch(request: Any) -> None:
        request.extensions["timeout"] = timeout.as_dict()  # google-genai asks for none at all
        line: Line | None = getattr(_here, "line", None)
        if line is not None:
            request.extensions["trace"] = line._trace

    return {
        "timeout": timeout,
        "verify": wires.verify,
        "limits": http.Limits(max_connections=None, max_keepalive_connections=0),
        # the proxies of the environment are mounted more closely, unless there is one for everything
        "mounts": None if "all" in urllib.request.getproxies() else {"all://": wires},
        "event_hooks": {"request": [watch]},
        "follow_redirects": False,
    }


def close_idle() -> None:
    """Hang up what is kept for the next request. Those that come all the same connect anew."""
    with _lock:
        known = list(_wires.values())
    for wires in known:
        wires.close_idle()


def _wires_of(http: ModuleType) -> Wires:
    with _lock:
        if http.__name__ not in _wires:
            _wires[http.__name__] = Wires(http, line_here)
        return _wires[http.__name__]


def line_here() -> Use | None:
    """Who is to know of the sockets that this thread uses."""
    line: Line | None = getattr(_here, "line", None)
    return None if line is None else line.use
