"""One keep-alive connection to the API, blocking and with little of its own to measure."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.processes import Trouble

TERMINAL = ("succeeded", "failed", "cancelled")
# Below the server's keep-alive: a connection that was silent for longer is opened anew.
_IDLE_S = 2.0
_BOUNDARY = "backchannel-benchmark-boundary"


class Web:
    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._used = time.monotonic()

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> Any:
        self._request("GET", path)
        return self._answer()

    def post(self, path: str, body: Any) -> Any:
        self._request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return self._answer()

    def upload(self, path: str, file: Path) -> Any:
        """POST the file as the multipart field `file`, without holding it in memory."""
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
            "Content-Type: application/json\r\n\r\n"
        ).encode()
        tail = f"\r\n--{_BOUNDARY}--\r\n".encode()

        def body() -> Iterator[bytes]:
            yield head
            with file.open("rb") as source:
                while block := source.read(1 << 20):
                    yield block
            yield tail

        length = len(head) + file.stat().st_size + len(tail)
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", "Content-Length": str(length)}
        self._request("POST", path, body(), headers)
        return self._answer()

    def event_types(self, job_id: str) -> Iterator[str]:
        """The `type` of each event of the job, as it arrives, to the end of the stream."""
        self._request("GET", f"/api/jobs/{job_id}/events")
        response = self._connection.getresponse()
        if response.status != 200:
            raise Trouble(f"events: HTTP {response.status}: {response.read()[:300]!r}")
        while line := response.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])["type"]

    def wait_for(self, job_id: str, timeout_s: float, every_s: float = 0.2) -> dict[str, Any]:
        """The job's row when it has succeeded."""
        deadline = time.monotonic() + timeout_s
        while True:
            job: dict[str, Any] = self.get(f"/api/jobs/{job_id}")
            if job["status"] == "succeeded":
                return job
            if job["status"] in TERMINAL:
                raise Trouble(f"the {job['kind']} job ended as {job['status']}: {job['error']}")
            if time.monotonic() > deadline:
                raise Trouble(f"the {job['kind']} job was still {job['status']} after {timeout_s:g} s")
            time.sleep(every_s)

    def _request(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        if time.monotonic() - self._used > _IDLE_S:
            self._connection.close()
        self._connection.request(method, path, body, headers or {})

    def _answer(self) -> Any:
        response = self._connection.getresponse()
        body = response.read()
        self._used = time.monotonic()
        if response.status >= 400:
            raise Trouble(f"HTTP {response.status}: {body[:300]!r}")
        return json.loads(body)
