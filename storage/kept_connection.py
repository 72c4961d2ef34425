"""JSON asked for over a connection that is kept, one for each thread and server: a third of the processor time that a
client library takes, most of it with the interpreter locked against other threads."""

from __future__ import annotations

import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import orjson

HEADERS = {"Content-Type": "application/json"}
_kept = threading.local()


class Refused(Exception):
    """The server's own word: `status` is that of HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def post(server: str, path: str, body: Any, timeout_s: float) -> Any:
    """The JSON that is answered; `server`: scheme, host and port. Raises Refused, OSError and HTTPException.

    Asked a second time where the server had closed a connection that was kept: for questions that change nothing.
    """
    content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    connections: dict[str, HTTPConnection] = _kept.__dict__.setdefault("connections", {})
    while True:
        connection, is_kept = connections.pop(server, None), True
        if connection is None:
            connection, is_kept = _connection(server, timeout_s), False
        try:
            connection.request("POST", path, content, HEADERS)
            response = connection.getresponse()
            answer = response.read()
        except BaseException as error:
            connection.close()
            if is_kept and isinstance(error, ConnectionError | HTTPException):
                continue
            raise
        connections[server] = connection  # one that the server closes opens itself again
        if response.status != 200:
            raise Refused(response.status)
        return orjson.loads(answer)


def _connection(server: str, timeout_s: float) -> HTTPConnection:
    parts = urlsplit(server)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout_s)
