"""A stand-in for the external summariser: keeps count of what it is sent, and reads a few messages each time it is
asked. It can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

Json = dict[str, Any]
Reply = tuple[int, Json | bytes, dict[str, str]]


@dataclass
class MetacognitionServer:
    """`replies`: answers of the next calls instead of the real ones. `reads`: messages it gets through per call."""

    url: str = ""
    reads: int = 1000
    replies: list[Reply] = field(default_factory=list)
    calls: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    conversations: dict[str, list[Json]] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    _read: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, headers: dict[str, str], body: Json) -> Reply:
        self.before()
        with self._lock:
            self.calls.append(body)
            self.headers.append(headers)
            if self.replies:
                return self.replies.pop(0)
            if path != "/manage_conversation":
                return 404, {"detail": "Not Found"}, {}
            return self._manage(body)

    def _manage(self, body: Json) -> Reply:
        summary_id = body["summary_id"] or f"summary-{len(self.conversations) + 1}"
        if summary_id not in self.conversations and body["summary_id"]:
            return 404, {"detail": "No such summary"}, {}
        kept = self.conversations.setdefault(summary_id, [])
        index = body["index_of_first_new_message"]
        if index != len(kept):
            return 400, {"detail": f"Expected index {len(kept)} for the first new message, got {index}"}, {}
        kept += body["new_messages"]
        read = self._read[summary_id] = min(len(kept), self._read.get(summary_id, 0) + self.reads)
        done = read == len(kept)
        told = {
            "status": "completed" if done else "processing",
            "summary_id": summary_id,
            "latest_summary": f"About {read} messages." if read else None,
            "latest_processed_message_idx": read - 1 if read else None,
        }
        return 200, told, {}

    def forget(self, summary_id: str, keep: int) -> None:
        """As if it had been restored from an older copy."""
        del self.conversations[summary_id][keep:]


@contextmanager
def metacognition_server() -> Iterator[MetacognitionServer]:
    kept = MetacognitionServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer, more = kept.answer(self.path, headers, body)
            content = answer if isinstance(answer, bytes) else orjson.dumps(answer)
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **more}.items():
                self.send_header(name, value)
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
