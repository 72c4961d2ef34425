"""`backchannel jobs`."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.cli.conftest import Run, Start
from tests.cli.stand_in import StandIn
from tests.servers import wait_until

Json = dict[str, Any]

STARTED = {"type": "started", "attempt": 1}
DONE = {"type": "done", "response": {"content": "Hi there.", "model": "tiny"}}
ERROR = {"type": "error", "code": "x", "message": "It broke.", "retryable": False}
CHAT = [STARTED, {"type": "content", "content": "Hi"}, {"type": "content", "content": " there."}, DONE]


def test_list(stand_in: StandIn, run: Run) -> None:
    done = stand_in.add_job("chat", CHAT)
    failed = stand_in.add_job("import", [STARTED, ERROR], progress={"done": 30, "total": 40, "unit": "bytes"})
    waiting = stand_in.add_job("noop", [], queue={"position": 3, "eta_seconds": None})
    blocked = stand_in.add_job("noop", [], blocked_by="no worker is serving the noop queue")
    output = run("jobs", "list").stdout
    for job in (done, failed, waiting, blocked):
        assert job["id"][-12:] in output
    for words in ("It broke.", "75 %", "number 3 in the queue", "no worker is serving", "1.2 s", "d ago"):
        assert words in output
    assert [
        job["id"] for job in json.loads(run("jobs", "list", "--kind", "noop", "--limit", "1", "--json").stdout)
    ] == [blocked["id"]]
    assert run("jobs", "list", "--status", "cancelled").stderr == "There are no such jobs.\n"


def test_show_and_its_abbreviations(stand_in: StandIn, run: Run) -> None:
    job = stand_in.add_job("chat", CHAT)
    for given in (job["id"], job["id"][-5:], job["id"][:30], job["id"].upper()):
        assert json.loads(run("jobs", "show", given, "--json").stdout)["id"] == job["id"]
    assert "Hi there." in run("jobs", "show", job["id"]).stdout


def test_an_abbreviation_must_be_of_one_job(stand_in: StandIn, run: Run) -> None:
    first = stand_in.add_job("chat", CHAT)["id"]
    stand_in.jobs[f"{first[:-1]}x"] = {**stand_in.jobs[first], "id": f"{first[:-1]}x"}
    assert "2 jobs have ids" in run("jobs", "show", first[:8]).stderr
    assert "1,000" not in (missing := run("jobs", "show", "fffffff").stderr)
    assert "None of your 2 newest jobs" in missing
    assert run("jobs", "show", "../admin").exit_code == 2


def test_watch(stand_in: StandIn, run: Run) -> None:
    job = stand_in.add_job("chat", CHAT)
    stand_in.cuts = [(3, "mid")]
    result = run("jobs", "watch", job["id"])
    assert result.exit_code == 0
    assert result.stdout == ('     1  queued\n     2  started, attempt 1\nHi there.\n     5  done: {"model": "tiny"}\n')


def test_watch_json_is_the_events(stand_in: StandIn, run: Run) -> None:
    job = stand_in.add_job("chat", CHAT)
    result = run("jobs", "watch", job["id"], "--json", "--after", "2")
    assert [json.loads(line) for line in result.stdout.splitlines()] == stand_in.events[job["id"]][2:]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"type": "progress", "done": 1500, "total": 3000, "unit": "bytes", "phase": "importing"},
            "importing: 1,500 of 3,000 bytes",
        ),
        ({"type": "progress", "done": 3, "total": None, "unit": "items", "phase": "reading"}, "reading: 3 items"),
        (
            {"type": "item", "status": "failed", "reason": "no messages", "title": None},
            "failed: (untitled) (no messages)",
        ),
        ({"type": "status", "status": "retrying", "retry_in_s": 2}, "retrying: retry_in_s 2"),
        ({"type": "status", "status": "retrieving"}, "retrieving"),
        ({"type": "reset"}, "the log was lost; the answer starts over"),
        ({"type": "conversation_locked"}, "conversation_locked"),
        ({"type": "something_new", "a": 1}, 'something_new {"a": 1}'),
    ],
)
def test_watch_has_a_line_for_every_event(stand_in: StandIn, run: Run, event: Json, line: str) -> None:
    job = stand_in.add_job("import", [STARTED, event, ERROR])
    result = run("jobs", "watch", job["id"])
    assert result.stdout.splitlines()[2:] == [f"     3  {line}", "     4  failed: It broke."]
    assert result.exit_code == 1


def test_ctrl_c_leaves_the_job(stand_in: StandIn, start: Start) -> None:
    job = stand_in.add_job("chat", CHAT[:2])
    process = start("jobs", "watch", job["id"])
    wait_until(lambda: stand_in.asked("GET .*/events"), what="the command to listen")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "goes on" in stderr
    assert "Traceback" not in stderr
    assert stand_in.jobs[job["id"]]["status"] == "running"


def test_cancel(stand_in: StandIn, run: Run) -> None:
    job = stand_in.add_job("chat", [STARTED])
    assert run("jobs", "cancel", job["id"]).stdout == f"The job {job['id'][-12:]} is cancelled.\n"
    assert run("jobs", "cancel", job["id"]).stdout == f"The job {job['id'][-12:]} had ended before: cancelled.\n"
    assert json.loads(run("jobs", "cancel", job["id"], "--json").stdout)["status"] == "cancelled"


def test_retry(stand_in: StandIn, run: Run) -> None:
    job = stand_in.add_job("chat", [STARTED, ERROR])
    stand_in.scripts = [[]]
    assert run("jobs", "retry", job["id"]).stdout == f"The job {job['id'][-12:]} is queued again.\n"
    again = run("jobs", "retry", job["id"])
    assert (again.exit_code, again.stderr) == (1, "Error: Only a failed or cancelled job can be retried.\n")


def test_an_unknown_subcommand(run: Run) -> None:
    result = run("jobs", "frobnicate")
    assert result.exit_code == 2
    assert result.stderr == "Error: No such command 'frobnicate'.\n"


def test_help_without_a_subcommand(run: Run) -> None:
    assert "cancel" in run("jobs").output
