"""What the fault tests look at: event streams as a client reads them, and rows as they are in the database."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

TERMINAL = ("done", "error", "cancelled")


@dataclass
class Seen:
    """Events of one job in the order they came, over as many connections as it took."""

    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.events[-1]["sequence_number"] if self.events else 0

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def text(self) -> str:
        """What the listener shows: content since the last reset."""
        shown = ""
        for event in self.events:
            if event["type"] == "reset":
                shown = ""
            elif event["type"] == "content":
                shown += event["content"]
        return shown

    def assert_sound(self) -> None:
        """Numbers without gap or repeat. What was written while this listener was away and then lost with the log is
        a gap that nobody can fill: it stands right in front of a `reset`."""
        last = 0
        for event in self.events:
            number = event["sequence_number"]
            assert number > last if event["type"] == "reset" else number == last + 1, f"{number} after {last}: {event}"
            last = number
        assert [kind for kind in self.types if kind in TERMINAL] == self.types[-1:], "one end, at the end"


def follow(
    url: str,
    job_id: str,
    seen: Seen | None = None,
    *,
    stop: Callable[[Seen], bool] = lambda _: False,
    limit_s: float = 90,
) -> Seen:
    """Read a job's events to the end, or until `stop`; a cut connection is taken up again by Last-Event-ID."""
    seen = seen or Seen()
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            for event in _connection(url, job_id, seen.last):
                seen.events.append(event)
                if event["type"] in TERMINAL or stop(seen):
                    return seen
        except httpx.HTTPError:
            time.sleep(0.1)  # the server is being started again; the deadline bounds this
    raise AssertionError(f"job {job_id} did not end within {limit_s} s; last events: {seen.events[-3:]}")


def _connection(url: str, job_id: str, after: int) -> Iterator[dict[str, Any]]:
    headers = {"Last-Event-ID": str(after)} if after else {}
    with (
        httpx.Client(trust_env=False, verify=False, timeout=20) as client,
        client.stream("GET", f"{url}/api/jobs/{job_id}/events", headers=headers) as answer,
    ):
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line[6:])


def submit(url: str, kind: str, **body: Any) -> str:
    return _accepted(httpx.post(f"{url}/api/jobs", json={"kind": kind, **body}, trust_env=False, timeout=30))


def upload(url: str, path: Path) -> str:
    with path.open("rb") as file:
        return _accepted(
            httpx.post(f"{url}/api/imports", files={"file": (path.name, file)}, trust_env=False, timeout=120)
        )


def _accepted(answer: httpx.Response) -> str:
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def job(url: str, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/api/jobs/{job_id}", trust_env=False, timeout=30).raise_for_status().json()
    return found


def finished_answer(url: str, job_id: str, seen: Seen) -> str:
    """The job's answer, which its listener has heard whole."""
    seen.assert_sound()
    done = job(url, job_id)
    assert done["status"] == "succeeded", done
    assert seen.text == done["result"]["content"]
    return str(done["result"]["content"])


def rows(data_dir: Path, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{data_dir}/backchannel.db?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query, parameters).fetchall()


def assert_rows_sound(data_dir: Path) -> None:
    """Every job ended, every effect exactly once."""
    assert (
        rows(data_dir, "SELECT id, kind, status FROM job WHERE status IN ('queued', 'running') AND kind <> 'embed'")
        == []
    )
    answers = rows(data_dir, "SELECT job_id, count(*) FROM message WHERE job_id IS NOT NULL GROUP BY job_id")
    assert [number for _, number in answers] == [1] * len(answers)
    succeeded = rows(data_dir, "SELECT id FROM job WHERE kind = 'chat' AND status = 'succeeded'")
    assert {row[0] for row in succeeded} == {row[0] for row in answers}
    doubled = rows(
        data_dir, "SELECT native_id FROM conversation GROUP BY owner_id, source, native_id HAVING count(*) > 1"
    )
    assert doubled == []
    for job_id, number, highest in rows(
        data_dir, "SELECT job_id, count(*), max(item_index) FROM import_item GROUP BY job_id"
    ):
        assert number == highest + 1, f"import {job_id}: {number} ledger rows up to index {highest}"


def all_searchable(data_dir: Path) -> bool:
    """True once nothing is left to embed and no embedding job is on its way."""
    behind = rows(data_dir, "SELECT count(*) FROM conversation WHERE indexed_version < content_version")[0][0]
    active = rows(data_dir, "SELECT count(*) FROM job WHERE kind = 'embed' AND status IN ('queued', 'running')")[0][0]
    return behind == 0 and active == 0
