"""The HTTP API as the commands use it: errors are sentences, and event streams outlive a restart of the server."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import httpx

from cli.problems import ClientError, broken, problem, stranger
from cli.sse import sse_data

Json = dict[str, Any]
T = TypeVar("T")

TERMINAL_TYPES = frozenset({"done", "error", "cancelled"})
ENDED = frozenset({"succeeded", "failed", "cancelled"})

_USUAL = httpx.Timeout(60, connect=5)  # a search may hold its answer for 30 s while the model loads
_UPLOAD = httpx.Timeout(600, connect=5)  # the server stores gigabytes before it answers
_STREAM = httpx.Timeout(60, connect=5)  # four heartbeats of 15 s missed: nobody is there
_PAGE = 200
# Streams of an ended job that end without an event before we believe that there is none: one may be a cut.
_EMPTY_STREAMS = 3


class Client:
    """Every method raises ClientError. `notify` is told when the server is away and waited for."""

    patience_s = 60.0  # a server that is restarted, or moved by its platform, is back within a minute
    pause_s = 1.0  # between two tries, as the stream's `retry:` asks for

    def __init__(
        self, url: str, api_key: str | None = None, notify: Callable[[str], None] = lambda _sentence: None
    ) -> None:
        self.notify = notify
        headers = {"X-API-Key": api_key} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_USUAL, trust_env=False)
        parts = self._http.base_url
        self.address = f"{parts.scheme}://{parts.netloc.decode()}{parts.path.rstrip('/')}"  # without a password in it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    # --- jobs

    def job(self, job_id: str) -> Json:
        return self.request("GET", f"/api/jobs/{job_id}")

    def submit(self, kind: str, body: Json, key: str) -> Json:
        """POST /api/jobs; the same `key` again answers with the same job."""
        headers = {"Idempotency-Key": key, "Prefer": "respond-async"}
        return self.request("POST", "/api/jobs", json={"kind": kind, "input": body}, headers=headers)

    def act(self, job_id: str, action: str) -> Json:
        """`action`: cancel or retry."""
        return self.request("POST", f"/api/jobs/{job_id}/{action}")

    def jobs(self, limit: int, **filters: str | None) -> list[Json]:
        """Newest first, over as many pages as `limit` needs."""
        found: list[Json] = []
        wanted = {name: value for name, value in filters.items() if value}
        cursor: Json = {}
        while len(found) < limit:
            size = min(_PAGE, limit - len(found))
            page = self.request("GET", "/api/jobs", params={**wanted, **cursor, "limit": size})
            found += page["jobs"]
            if not page["next_cursor"]:
                break
            cursor = {"cursor": page["next_cursor"]}
        return found

    def items(self, job_id: str, status: str) -> Iterator[Json]:
        """The ledger of an import, in file order."""
        offset, total = 0, 1
        while offset < total:
            params = {"status": status, "limit": _PAGE, "offset": offset}
            page = self.request("GET", f"/api/imports/{job_id}/items", params=params)
            yield from page["items"]
            offset, total = offset + max(1, len(page["items"])), page["total"]

    def upload(self, path: Path, name: str, key: str, on_bytes: Callable[[int], None]) -> Json:
        """Send a file to be imported, a piece at a time; `on_bytes` is told the size of each. Returns the job."""
        try:
            with _Counted(path, on_bytes) as file:
                part = (name, file, "application/octet-stream")
                headers = {"Idempotency-Key": key, "Prefer": "respond-async"}
                return self.request("POST", "/api/imports", files={"file": part}, headers=headers, timeout=_UPLOAD)
        except OSError as error:
            raise ClientError(f"The file cannot be read: {error.strerror or error}.", "unreadable_file") from None

    def download(self, path: str, params: dict[str, str], file: BinaryIO) -> int:
        """Write a streamed answer into `file` as it comes; its bytes. A stream that breaks is an error."""
        size = 0
        try:
            with self._http.stream("GET", path, params=params) as response:
                if not response.is_success:
                    response.read()
                    raise problem(self.address, response)
                for piece in response.iter_bytes():
                    size += file.write(piece)
        except httpx.HTTPError as error:
            raise broken(self.address, error) from error
        return size

    def import_link(self, link: str, key: str) -> Json:
        headers = {"Idempotency-Key": key, "Prefer": "respond-async"}
        return self.request("POST", "/api/imports", json={"url": link}, headers=headers)

    # --- events

    def events(self, job_id: str, after: int = 0) -> Iterator[Json | None]:
        """A job's events numbered above `after`, each once and in order, to the terminal one; None at a heartbeat.

        A broken connection is made again behind the last event. Raises ClientError when that fails for `patience_s`.
        Without a terminal event it ends only where the server has none to tell: when `after` is that event's number.
        """
        patience, empty = Patience(self), 0
        while True:
            empty += 1
            try:
                for event in self._listen(job_id, after, patience):
                    if event is None:
                        yield None
                    elif event["sequence_number"] > after:
                        empty, after = 0, event["sequence_number"]
                        yield event
                        if event["type"] in TERMINAL_TYPES:
                            return
                if empty >= _EMPTY_STREAMS and self.job(job_id)["status"] in ENDED:
                    return
                time.sleep(self.pause_s)
            except ClientError as error:
                patience.spend(error)

    def _listen(self, job_id: str, after: int, patience: Patience) -> Iterator[Json | None]:
        """What one connection brings."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(after)} if after else {})}
        try:
            with self._http.stream("GET", f"/api/jobs/{job_id}/events", headers=headers, timeout=_STREAM) as response:
                if not response.is_success:
                    response.read()
                    raise problem(self.address, response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise stranger(self.address)
                patience.renew()
                for data in sse_data(response.iter_bytes()):
                    yield self._event(data) if data is not None else None
        except httpx.HTTPError as error:
            raise broken(self.address, error) from error

    def _event(self, data: bytes) -> Json:
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if isinstance(event, dict) and isinstance(event.get("sequence_number"), int) and "type" in event:
            return event
        raise stranger(self.address)

    # --- requests

    def socket(self, path: str) -> tuple[str, dict[str, str]]:
        """The address of a WebSocket, and the headers to sign in with."""
        key = self._http.headers.get("X-API-Key")
        address = str(self._http.base_url.copy_with(scheme=self._http.base_url.scheme.replace("http", "ws", 1)))
        return f"{address.rstrip('/')}{path}", {"X-API-Key": key} if key else {}

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Repeat what is safe to repeat while the server is away or full."""
        patience = Patience(self)
        while True:
            try:
                return attempt()
            except ClientError as error:
                patience.spend(error)

    def request(self, method: str, path: str, **options: Any) -> Json:
        """The JSON object of a good answer."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise broken(self.address, error) from error
        except UnicodeError as error:
            raise ClientError("What was given is not valid text.", "bad_text") from error
        if not response.is_success:
            raise problem(self.address, response)
        try:
            body = response.json()
        except ValueError as error:
            raise stranger(self.address) from error
        if not isinstance(body, dict):
            raise stranger(self.address)
        return body


class Waiting:
    """Says why a job waits: once, and again when the reason changes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._told: str | None = None

    def look(self, job: Json) -> None:
        why = job["blocked_by"]
        if why and why != self._told:
            self._client.notify(f"Waiting: {why}.")
            self._told = why


class Patience:
    """Bounded waiting for one server; renewed by every success."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._until: float | None = None

    def spend(self, error: ClientError) -> None:
        """Pause before another try. Raises `error` when it cannot pass, or has not for too long."""
        if not error.may_pass:
            raise error
        now, limit_s = time.monotonic(), self._client.patience_s
        if self._until is None:
            self._until = now + limit_s
            self._client.notify(f"{error.message} Trying again for {limit_s:.0f} s.")
        if now >= self._until:
            raise ClientError(f"{error.message} Given up after {limit_s:.0f} s.", error.code, error.status)
        time.sleep(min(max(self._client.pause_s, error.retry_after_s), self._until - now))

    def renew(self) -> None:
        self._until = None


class _Counted(io.FileIO):
    """A file that tells how much of it was read. httpx reads it in pieces and announces the length it has at first."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        super().__init__(path)
        self._on_bytes = on_bytes
        self._left = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(-1 if size is None else size) or b""
        self._left -= len(block)
        if self._left < 0 or (self._left and not block):
            # Only here: a body that is not as long as was announced ends in an error that httpx does not translate.
            raise ClientError("The file changed while it was sent.", "file_changed")
        self._on_bytes(len(block))
        return block
