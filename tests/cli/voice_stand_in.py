"""A stand-in for /ws/voice whose every connection is scripted, and for the two addresses that `talk` asks besides."""

from __future__ import annotations

import json
import socket as sockets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

Json = dict[str, Any]
Script = Callable[["Connected"], None]
TURN = "01a1fd1f-0000-7000-8000-000000000001"
SESSION = "01a1fd1f-0000-7000-8000-0000000000aa"


class Connected:
    """One connection, as its script sees it."""

    def __init__(self, socket: ServerConnection, query: dict[str, str]) -> None:
        self.query, self._socket = query, socket

    def tell(self, *events: Json) -> None:
        for event in events:
            self._socket.send(json.dumps(event))

    def sound(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._socket.send(piece)

    def ready(self) -> None:
        rate = int(self.query["output_sample_rate"])
        self.tell({"type": "ready", "sample_rate": 16_000, "output_sample_rate": rate, "session_id": None})

    def question(self) -> bytes:
        """What is said, to its end."""
        said = b""
        while isinstance(frame := self._socket.recv(20), bytes):
            said += frame
        assert json.loads(frame) == {"type": "end_of_turn"}
        return said

    def some_sound(self) -> bytes:
        frame = self._socket.recv(20)
        assert isinstance(frame, bytes)
        return frame

    def cut(self) -> None:
        """As when a cable is pulled: nothing more comes."""
        self._socket.socket.shutdown(sockets.SHUT_RDWR)

    def close(self, code: int, reason: str) -> None:
        self._socket.close(code, reason)

    def wait(self) -> None:
        """Until the client leaves."""
        try:
            while True:
                self._socket.recv()
        except ConnectionClosed:
            pass


class VoiceStandIn:
    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.connections: list[Connected] = []
        self.jobs: list[Json] = []
        self.headers: list[Headers] = []
        self.refuses: tuple[int, str] | None = None  # all HTTP requests: status, sentence
        self.failures: list[BaseException] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, _socket: ServerConnection, request: Request) -> Response | None:
        self.headers.append(request.headers)
        if self.refuses is not None:
            status, detail = self.refuses
            return _json({"type": "x", "title": "x", "status": status, "detail": detail, "code": "x"}, status)
        path = urlsplit(request.path).path
        if path == "/ws/voice":
            return None
        if path == "/api/voice/voices":
            return _json({"voices": [], "speaker": None, "transcriber": None})
        if path == "/api/jobs":
            return _json({"jobs": self.jobs, "total": len(self.jobs), "limit": 20, "next_cursor": None})
        return _json({"id": path.rpartition("/")[2], "status": "running", "blocked_by": "the model is loading"})

    def serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        here = Connected(socket, dict(parse_qsl(urlsplit(socket.request.path).query)))
        self.connections.append(here)
        script = self.scripts.pop(0) if self.scripts else Connected.wait
        try:
            script(here)
        except ConnectionClosed:
            pass
        except BaseException as error:
            self.failures.append(error)
            raise


def _json(body: Json, status: int = 200) -> Response:
    content = json.dumps(body).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"})
    return Response(status, HTTPStatus(status).phrase, headers, content)


@contextmanager
def voice_stand_in() -> Iterator[VoiceStandIn]:
    stand_in = VoiceStandIn()
    server: Server = serve(stand_in.serve, "127.0.0.1", 0, process_request=stand_in.answer, max_size=2**24)
    stand_in.port = server.socket.getsockname()[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join(10)
    assert not stand_in.failures


def numbered(*events: Json, after: int = 0, job_id: str = TURN) -> list[Json]:
    """As a job's log tells them."""
    return [{**event, "job_id": job_id, "sequence_number": after + at} for at, event in enumerate(events, 1)]
