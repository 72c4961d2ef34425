"""`backchannel reindex`."""

from __future__ import annotations

import json

from tests.cli.conftest import Run
from tests.cli.stand_in import StandIn

REBUILT = [
    {"type": "started", "attempt": 1},
    {"type": "progress", "done": 3, "total": 3, "unit": "conversations", "phase": "rebuilding"},
    {"type": "done", "response": {"conversations": 3, "chunks_added": 5, "chunks_removed": 0, "index": "m#2"}},
]


def test_the_rebuild_is_followed_to_its_end(stand_in: StandIn, run: Run) -> None:
    stand_in.scripts = [REBUILT]
    result = run("reindex")
    assert (result.exit_code, result.stdout) == (0, "The new index holds 3 conversations.\n")
    (asked,) = stand_in.asked("POST /api/jobs")
    assert asked.body == {"kind": "embed", "input": {"rebuild": True}}


def test_without_waiting_only_the_job_is_told(stand_in: StandIn, run: Run) -> None:
    (job_id,) = run("reindex", "--no-wait").stdout.split()
    assert job_id in stand_in.jobs


def test_a_rebuild_that_fails_fails_the_command(stand_in: StandIn, run: Run) -> None:
    stand_in.scripts = [[{"type": "error", "code": "unavailable", "message": "No index.", "retryable": False}]]
    result = run("reindex", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["status"] == "failed"
