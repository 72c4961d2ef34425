"""The host of share links: answers every page alike, as a test says."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from tests import exports

LINK = "https://chatgpt.com/share/68a1b2c3-d4e5-6789-abcd-ef0123456789"


class Page(http.server.BaseHTTPRequestHandler):
    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""
    asked: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        return None


@contextmanager
def share_host() -> Iterator[tuple[type[Page], str]]:
    """What it shows, to be changed by the test, and its URL. At first a conversation called Roses."""
    Page.status, Page.asked = 200, 0
    Page.body = exports.chatgpt_json([exports.chatgpt_conversation("c1", "Roses")])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield Page, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
