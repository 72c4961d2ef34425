"""Connections that are kept: one for many questions, opened again where the other side closed it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import orjson
import pytest

from storage import kept_connection


class Told(BaseHTTPRequestHandler):
    """Answers with what it was sent and with the port it was sent from, until it is told to hang up."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("hang up unheard") and self.client_address[1] in self.server.seen:  # type: ignore[attr-defined]
            self.close_connection = True
            return
        self.server.seen.append(self.client_address[1])  # type: ignore[attr-defined]
        answer = orjson.dumps({"body": body, "from": self.client_address[1]})
        self.send_response(int(body.get("status", 200)))
        self.send_header("Content-Length", str(len(answer)))
        if body.get("goodbye"):
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Told) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def port(server: str, **body: object) -> int:
    """Of this side's end."""
    return int(kept_connection.post(server, "/x", body, 5.0)["from"])


def test_json_goes_there_and_back(server: str) -> None:
    vector = np.array([0.5, 1.0], dtype=np.float32)
    assert kept_connection.post(server, "/x", {"vector": vector}, 5.0)["body"] == {"vector": [0.5, 1.0]}


def test_a_thread_keeps_its_connection(server: str) -> None:
    ports = [port(server) for _ in range(3)]
    assert len(set(ports)) == 1
    other = threading.Thread(target=lambda: ports.append(port(server)))
    other.start()
    other.join()
    assert len(set(ports)) == 2


def test_a_refusal_is_told_and_the_connection_kept(server: str) -> None:
    before = port(server)
    with pytest.raises(kept_connection.Refused) as caught:
        port(server, status=404)
    assert caught.value.status == 404
    assert port(server) == before


def test_a_connection_that_was_closed_is_opened_again(server: str) -> None:
    before = port(server, goodbye=True)
    between = port(server)
    after = port(server, **{"hang up unheard": True})
    assert len({before, between, after}) == 3


def test_a_server_that_is_away_or_silent_is_an_error() -> None:
    with pytest.raises(OSError, match="refused"):
        kept_connection.post("http://127.0.0.1:9", "/x", {}, 5.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Told, bind_and_activate=True) as silent, pytest.raises(TimeoutError):
        kept_connection.post(f"http://127.0.0.1:{silent.server_port}", "/x", {}, 0.05)
