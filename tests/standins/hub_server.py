"""A stand-in for the hub and for the other host that its files really come from.

Both are HTTP servers on ports of their own. What a test wants to go wrong it says beforehand: `cuts`, `wrong`,
`answers`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
BLOCK = 16_384


@dataclass(frozen=True)
class Asked:
    host: str  # "hub" or "cdn"
    path: str
    range: str | None
    if_range: str | None
    authorization: str | None
    user_agent: str
    query: dict[str, list[str]]


@dataclass
class HubServer:
    """`repos`: repository → path → bytes. Every commit is named after the repository's content."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    plain: set[str] = field(default_factory=set)  # paths that git keeps itself: the hub tells no SHA-256 of them
    token: str = ""  # when set, nothing is shown without it
    cuts: list[int] = field(default_factory=list)  # bytes after which the next transfers are cut
    wrong: int = 0  # transfers whose last byte is another than it should be
    no_ranges: bool = False
    # (pattern of host and path, status, headers, body): given once, in place of the usual answer
    answers: list[tuple[str, int, dict[str, str], bytes]] = field(default_factory=list)
    # Called between blocks with what was sent of this transfer, for tests that act in the middle of one.
    between: Callable[[int], None] = lambda _sent: None

    asked: list[Asked] = field(default_factory=list)
    sent: int = 0  # bytes of files, over all transfers
    url: str = ""
    cdn_url: str = ""

    def files_asked(self) -> list[Asked]:
        return [one for one in self.asked if one.host == "cdn"]

    def commit(self, repo: str) -> str:
        digest = hashlib.sha1()
        for path, content in sorted(self.repos[repo].items()):
            digest.update(path.encode() + content)
        return digest.hexdigest()

    def info(self, repo: str) -> Json:
        return {
            "_id": "0",
            "id": repo,
            "modelId": repo,
            "sha": self.commit(repo),
            "private": False,
            "tags": [],
            "downloads": 0,
            "siblings": [self._sibling(path, content) for path, content in self.repos[repo].items()],
        }

    def _sibling(self, path: str, content: bytes) -> Json:
        git_id = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        told = {"rfilename": path, "size": len(content), "blobId": git_id}
        if path not in self.plain:
            sha256 = hashlib.sha256(content).hexdigest()
            told["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 135}
        return told


@contextmanager
def hub_server(**script: Any) -> Iterator[HubServer]:
    hub = HubServer(**script)
    servers = []
    for host in ("hub", "cdn"):
        handler = type("Handler", (_Handler,), {"hub": hub, "host": host})
        server = _Server(("127.0.0.1", 0), handler)
        setattr(hub, "url" if host == "hub" else "cdn_url", f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    host: str

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        head = self.headers
        self.hub.asked.append(
            Asked(
                self.host, path, head["Range"], head["If-Range"], head["Authorization"], head["User-Agent"] or "",
                parse_qs(parts.query),
            )
        )  # fmt: skip
        for at, (pattern, status, headers, body) in enumerate(self.hub.answers):
            if re.fullmatch(pattern, f"{self.host} {path}"):
                del self.hub.answers[at]
                self._answer(status, body, headers)
                return
        if self.host == "cdn":
            _, owner, repo, name = path.split("/", 3)
            self._send_file(self.hub.repos[f"{owner}/{repo}"][name])
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._tell_info(*found.groups())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._redirect(*found.groups())
        else:
            self._answer(404, b"{}")

    def _tell_info(self, repo: str, revision: str | None) -> None:
        if not self._may_see(repo):
            return
        if revision not in (None, "main", self.hub.commit(repo)):
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        info = self.hub.info(repo)
        if "blobs" not in parse_qs(urlsplit(self.path).query):
            info["siblings"] = [{"rfilename": one["rfilename"]} for one in info["siblings"]]
        self._answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _redirect(self, repo: str, revision: str, name: str) -> None:
        if not self._may_see(repo):
            return
        content = self.hub.repos[repo].get(name)
        if content is None or revision not in ("main", self.hub.commit(repo)):
            self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        headers = {
            "Location": f"{self.hub.cdn_url}/{repo}/{name}?Signature=abc",
            "X-Repo-Commit": self.hub.commit(repo),
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
        }
        self._answer(302, b"Found. Redirecting", headers)

    def _may_see(self, repo: str) -> bool:
        """The hub does not tell what is hidden from what is not there."""
        if self.hub.token and self.headers["Authorization"] != f"Bearer {self.hub.token}":
            self._answer(401, b"{}", {"X-Error-Code": "GatedRepo"})
        elif repo not in self.hub.repos:
            self._answer(401 if not self.headers["Authorization"] else 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            return True
        return False

    def _send_file(self, content: bytes) -> None:
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if wanted and not self.hub.no_ranges and self.headers["If-Range"] in (None, etag):
            start, status = int(wanted[1]), 206
        self.send_response(status)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.hub.wrong:
            self.hub.wrong -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        end = min(len(content), start + self.hub.cuts.pop(0)) if self.hub.cuts else len(content)
        for at in range(start, end, BLOCK):
            block = content[at : min(at + BLOCK, end)]
            self.wfile.write(block)
            self.hub.sent += len(block)
            self.hub.between(at + len(block) - start)
        if end < len(content):
            self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
