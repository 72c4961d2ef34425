"""Somebody else's HTTP server, on a free port: it checks what it is asked, and answers as the test has written."""

from __future__ import annotations

import json
import select
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qs, parse_qsl, urlsplit

Json = dict[str, Any]
STILL_S = 20.0  # a safety net: how long a silent answer waits for its caller to leave


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: Any


@dataclass(frozen=True)
class Reply:
    """`sizes`: how the body is cut into writes, again and again; () is one. `end`: "whole", "cut" in the middle of the
    transfer, or "silent" until the caller leaves; "mute" is silent before a header is sent."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    end: Literal["whole", "cut", "silent", "mute"] = "whole"

    def pieces(self) -> list[bytes]:
        found, place, turn = [], 0, 0
        while place < len(self.body):
            size = self.sizes[turn % len(self.sizes)] if self.sizes else len(self.body)
            found.append(self.body[place : place + size])
            place, turn = place + size, turn + 1
        return found


class Server(ABC):
    """`asked` is what came in; `still` is set while an answer is silent, `left` once its caller has hung up."""

    content_type: ClassVar[str] = "application/json"

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.still, self.left = threading.Event(), threading.Event()
        self.connections = 0  # that were made to it, of which each may carry several requests
        handler = type("Handler", (_Handler,), {"stand_in": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()

    @abstractmethod
    def reply(self, asked: Asked) -> Reply:
        """What it answers."""


Told = tuple[int, Any, dict[str, str]]  # status, bytes or what becomes JSON, headers


class Telling(Server):
    """Answers what `tell` says."""

    def __init__(self, tell: Callable[[Asked], Told]) -> None:
        super().__init__()
        self._tell = tell

    def reply(self, asked: Asked) -> Reply:
        status, body, headers = self._tell(asked)
        return Reply(body if isinstance(body, bytes) else json.dumps(body).encode(), status, headers)


class StandIn(Server):
    """Refuses by itself what the real one would, and gives the test's answers to the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: list[Reply] = []
        self.problems: list[str] = []  # what was wrong with the requests it refused by itself

    def answers(self, *replies: Reply | bytes) -> None:
        """The next answers; what is left over of earlier ones is forgotten."""
        self.replies = [reply if isinstance(reply, Reply) else Reply(reply) for reply in replies]

    def forget(self) -> None:
        """As new, for the next example."""
        self.replies, self.asked, self.problems = [], [], []
        self.still.clear()
        self.left.clear()

    # --- what each server has of its own

    @abstractmethod
    def check(self, asked: Asked) -> Reply | None:
        """What the real one would refuse; None lets the test's answer through."""

    @abstractmethod
    def refused(self, status: int, why: str) -> Reply:
        """An error in this server's shape."""

    def reply(self, asked: Asked) -> Reply:
        if (refusal := self.check(asked)) is not None:
            self.problems.append(refusal.body.decode())
            return refusal
        if not self.replies:
            self.problems.append("asked more often than the test has answers")
            return self.refused(500, "No answer is left.")
        return self.replies.pop(0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)

    def hang_up(self) -> None:
        """Who kept a connection must not find another test's server behind it."""
        with self._lock, suppress(OSError):
            for connection in self._open:
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that leave are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    stand_in: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.stand_in.connections += 1

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        asked = Asked(self.command, parts.path, query, self.headers, self._read(raw))
        self.stand_in.asked.append(asked)
        reply = self.stand_in.reply(asked)
        self.close_connection = reply.end != "whole"
        if reply.end == "mute":
            self._wait()
            return
        self.send_response(reply.status)
        kind = self.stand_in.content_type if reply.status == 200 else "application/json"
        for name, value in ({"Content-Type": kind, "Transfer-Encoding": "chunked"} | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        for piece in reply.pieces():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if reply.end == "silent":
            self._wait()
        elif reply.end == "whole":
            self.wfile.write(b"0\r\n\r\n")

    def _read(self, raw: bytes) -> Any:
        if self.headers.get_content_type() == "application/x-www-form-urlencoded":
            return dict(parse_qsl(raw.decode()))
        return json.loads(raw) if raw else None

    def _wait(self) -> None:
        """Until the caller has hung up, which a socket tells by being readable and empty."""
        self.stand_in.still.set()
        readable, _, _ = select.select([self.connection], [], [], STILL_S)
        try:
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                self.stand_in.left.set()
        except ConnectionError:
            self.stand_in.left.set()


def sse(event: str | None, data: Any) -> bytes:
    """One server-sent event, with its name where there is one."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
