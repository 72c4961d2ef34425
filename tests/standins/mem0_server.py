"""A stand-in for a mem0 server: answers a search with the memories it is given, or fails as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


@dataclass
class Mem0Server:
    url: str = ""
    memories: list[tuple[str, float]] = field(default_factory=list)
    fails_with: tuple[int, bytes] | None = None
    bare: bool = False  # as older versions answer
    asked: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        self.asked.append(body)
        if self.fails_with is not None:
            return self.fails_with
        if path != "/search" or body.keys() != {"query", "user_id", "metadata"}:
            return 422, b'{"detail": "unprocessable"}'
        found = [
            {"id": f"m{place}", "memory": memory, "score": score, "metadata": {"type": "summary"}}
            for place, (memory, score) in enumerate(self.memories)
        ]
        return 200, orjson.dumps(found if self.bare else {"results": found})


@contextmanager
def mem0_server() -> Iterator[Mem0Server]:
    kept = Mem0Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
            status, content = kept.answer(self.path, body)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
