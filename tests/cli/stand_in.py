"""A stand-in server that speaks the routes of the commands and can be cut, stopped and started again at will."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from storage.ids import new_id

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: Any


@dataclass
class Upload:
    filename: str
    sha256: str
    size: int
    job_id: str


@dataclass
class StandIn:
    """`jobs` and `events` are what it shows; a test fills and changes them while it runs."""

    jobs: dict[str, Json] = field(default_factory=dict)
    events: dict[str, list[Json]] = field(default_factory=dict)
    items: dict[str, list[Json]] = field(default_factory=dict)
    hits: list[Json] = field(default_factory=list)
    # What a new job's events are; the first answer is for the first job, the last for all that follow.
    scripts: list[list[Json]] = field(default_factory=lambda: [[{"type": "started", "attempt": 1}]])
    # Per stream that is opened: the event after which it is cut, and where: "clean" between two, "mid" in the next.
    cuts: list[tuple[int, str]] = field(default_factory=list)
    # Answers given instead of the usual ones: (method and path pattern, status, body, headers).
    refusals: list[tuple[str, int, Any, dict[str, str]]] = field(default_factory=list)
    replays: bool = False  # every stream from its beginning, whatever was asked for
    drop_answers: int = 0  # uploads that are accepted and never answered
    heartbeat_s: float = 0.05

    requests: list[Request] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.stopping = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.stopping.clear()
        handler = type("Handler", (_Handler,), {"stand_in": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self.stopping.set()
            self._server.shutdown()
            self._server.server_close()  # waits for the threads: every stream is cut
            self._server = None

    def asked(self, pattern: str) -> list[Request]:
        return [request for request in self.requests if re.fullmatch(pattern, f"{request.method} {request.path}")]

    def add_job(self, kind: str, script: list[Json] | None = None, **fields: Any) -> Json:
        """A job whose events are `script`; its row follows from the last of them."""
        if script is None:
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        job_id = new_id()
        self.jobs[job_id] = {
            **dict.fromkeys(("progress", "queue", "blocked_by", "conversation_id", "started_at", "finished_at")),
            **dict.fromkeys(("ttft_ms", "result", "error")),
            **{"id": job_id, "kind": kind, "status": "queued", "priority": 5, "attempt": 1, "links": {}},
            **{"created_at": "2026-01-02T03:04:05.678Z", "queue_ms": 1, "run_ms": 1234},
        }
        self.events[job_id] = []
        for event in [{"type": "queued"}, *script]:
            self.tell(job_id, event)
        self.jobs[job_id] |= fields
        return self.jobs[job_id]

    def tell(self, job_id: str, event: Json) -> None:
        job, log = self.jobs[job_id], self.events[job_id]
        log.append({**event, "job_id": job_id, "sequence_number": len(log) + 1})
        match event["type"]:
            case "started":
                job["status"] = "running"
            case "done":
                job |= {"status": "succeeded", "result": event["response"]}
            case "error":
                job |= {"status": "failed", "error": {k: event[k] for k in ("code", "message", "retryable")}}
            case "cancelled":
                job["status"] = "cancelled"


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        if self.headers["Content-Type"] and self.headers["Content-Type"].startswith("multipart/"):
            self._serve(self._read_part(length))
        else:
            raw = self.rfile.read(length)
            self._serve(json.loads(raw) if raw else None)

    def _serve(self, body: Any) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        request = Request(self.command, parts.path, query, self.headers, body)
        self.stand_in.requests.append(request)
        for at, (pattern, status, answer, headers) in enumerate(self.stand_in.refusals):
            if re.fullmatch(pattern, f"{request.method} {request.path}"):
                del self.stand_in.refusals[at]
                self._answer(answer, status, headers)
                return
        for pattern, method in _ROUTES.items():
            if found := re.fullmatch(pattern, f"{request.method} {request.path}"):
                method(self, request, *found.groups())
                return
        self._problem(404, "There is nothing at this address.", "not_found")

    # --- routes

    def _list(self, request: Request) -> None:
        limit = int(request.query.get("limit", 50))
        rows = sorted(self.stand_in.jobs.values(), key=lambda job: job["id"], reverse=True)
        wanted = [
            job for job in rows
            if all(job[name] == request.query[name] for name in ("kind", "status") if name in request.query)
            and job["id"] < request.query.get("cursor", "g")
        ]  # fmt: skip
        more = wanted[limit - 1]["id"] if len(wanted) > limit else None
        self._answer({"jobs": wanted[:limit], "total": len(wanted), "limit": limit, "next_cursor": more})

    def _submit(self, request: Request) -> None:
        self._answer(self._job_of_key(lambda: self.stand_in.add_job(request.body["kind"])), 202)

    def _import(self, request: Request) -> None:
        job = self._job_of_key(lambda: self.stand_in.add_job("import"))
        if "url" not in request.body:
            self.stand_in.uploads.append(Upload(**request.body, job_id=job["id"]))
        if self.stand_in.drop_answers:
            self.stand_in.drop_answers -= 1
            return
        self._answer(job, 202)

    def _job_of_key(self, make: Callable[[], Json]) -> Json:
        key = self.headers["Idempotency-Key"]
        if key not in self.stand_in.keys:
            self.stand_in.keys[key] = make()["id"]
        return self.stand_in.jobs[self.stand_in.keys[key]]

    def _job(self, _request: Request, job_id: str) -> None:
        if job_id in self.stand_in.jobs:
            self._answer(self.stand_in.jobs[job_id])
        else:
            self._problem(404, f"There is no job {job_id}.", "not_found")

    def _act(self, request: Request, job_id: str, action: str) -> None:
        job = self.stand_in.jobs[job_id]
        if action == "retry":
            if job["status"] not in ("failed", "cancelled"):
                self._problem(409, "Only a failed or cancelled job can be retried.", "conflict")
                return
            job |= {"status": "queued", "error": None}
            # The first end becomes a step, as the server's replay has it.
            log = self.stand_in.events[job_id]
            log[-1] = {"type": "status", "status": "failed", "job_id": job_id, "sequence_number": len(log)}
            for event in [{"type": "queued"}, *self.stand_in.scripts[0]]:
                self.stand_in.tell(job_id, event)
        elif job["status"] in ("queued", "running"):
            self.stand_in.tell(job_id, {"type": "cancelled"})
        self._answer(job, 202 if action == "retry" else 200)

    def _items(self, request: Request, job_id: str) -> None:
        rows = [row for row in self.stand_in.items.get(job_id, []) if row["status"] == request.query["status"]]
        offset, limit = int(request.query["offset"]), int(request.query["limit"])
        self._answer({"items": rows[offset : offset + limit], "total": len(rows), "limit": limit, "offset": offset})

    def _session(self, _request: Request) -> None:
        self._answer({"session_id": "a-new-session", "created_at": "2026-01-02T03:04:05.678Z"}, 201)

    def _search(self, request: Request) -> None:
        hits = self.stand_in.hits[: int(request.query["limit"])]
        self._answer({"query": request.query["q"], "results": hits, "total": len(hits)})

    def _stream(self, _request: Request, job_id: str) -> None:
        if job_id not in self.stand_in.jobs:
            self._problem(404, f"There is no job {job_id}.", "not_found")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"retry: 1000\n\n")
        after = 0 if self.stand_in.replays else int(self.headers["Last-Event-ID"] or 0)
        cut_after, how = self.stand_in.cuts.pop(0) if self.stand_in.cuts else (None, "")
        heard = time.monotonic()
        while not self.stand_in.stopping.is_set():
            for event in self.stand_in.events[job_id][after:]:
                frame = f"id: {event['sequence_number']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
                if cut_after is not None and after >= cut_after:
                    self.wfile.write(frame[: len(frame) // 2] if how == "mid" else b"")
                    return
                self.wfile.write(frame)
                after, heard = event["sequence_number"], time.monotonic()
            if self.stand_in.jobs[job_id]["status"] in ("succeeded", "failed", "cancelled"):
                return
            if time.monotonic() - heard > self.stand_in.heartbeat_s:
                self.wfile.write(b": still here\n\n")
                heard = time.monotonic()
            self.stand_in.stopping.wait(0.005)

    # --- answers

    def _answer(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _problem(self, status: int, detail: str, code: str) -> None:
        body = {"type": f"urn:backchannel:{code}", "title": code, "status": status, "detail": detail, "code": code}
        self._answer(body, status, {"Content-Type": "application/problem+json"})

    def _read_part(self, length: int) -> Json:
        """The one part of a multipart body, read a piece at a time."""
        boundary = self.headers["Content-Type"].partition("boundary=")[2].encode()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.readline()
        tail = b"\r\n--" + boundary + b"--\r\n"
        digest, size = hashlib.sha256(), length - len(head) - len(tail)
        left = size
        while left and (block := self.rfile.read(min(left, 1 << 16))):
            digest.update(block)
            left -= len(block)
        assert self.rfile.read(len(tail)) == tail, "the body's length is not what was announced"
        name = re.search(rb'filename="([^"]*)"', head)
        return {"filename": name[1].decode() if name else "", "sha256": digest.hexdigest(), "size": size}


_ROUTES: dict[str, Callable[..., None]] = {
    r"GET /api/jobs": _Handler._list,
    r"POST /api/jobs": _Handler._submit,
    r"POST /api/imports": _Handler._import,
    r"GET /api/jobs/([^/]+)": _Handler._job,
    r"GET /api/jobs/([^/]+)/events": _Handler._stream,
    r"POST /api/jobs/([^/]+)/(cancel|retry)": _Handler._act,
    r"GET /api/imports/([^/]+)/items": _Handler._items,
    r"POST /api/sessions": _Handler._session,
    r"GET /api/search": _Handler._search,
}
