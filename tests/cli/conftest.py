"""Fixtures: the commands in this process, against a stand-in server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.client import Client
from cli.main import cli
from tests.cli.stand_in import StandIn

Json = dict[str, Any]
Run = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    made = StandIn()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that try again at once and give up after a second."""
    monkeypatch.setattr(Client, "pause_s", 0.01)
    monkeypatch.setattr(Client, "patience_s", 1.0)


@pytest.fixture
def environment(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("BACKCHANNEL_URL", stand_in.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BACKCHANNEL_API_KEY", raising=False)


@pytest.fixture
def run(environment: None, hasty: None) -> Run:
    """`backchannel ARGS` against the stand-in, in this process."""

    def invoke(*args: str | Path, input: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, [str(arg) for arg in args], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def start(environment: None) -> Iterator[Start]:
    """`backchannel ARGS` as a process of its own, for signals."""
    started: list[subprocess.Popen[str]] = []
    # A test run in a shell's background ignores Ctrl-C, and what it starts would, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def begin(*args: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cli", *map(str, args)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()
    signal.signal(signal.SIGINT, before)


# --- imports ---


def import_script(created: int = 3, failed: int = 0, messages: int = 12) -> list[Json]:
    counts = {"created": created, "updated": 0, "unchanged": 0, "skipped": 0, "failed": failed}
    return [
        {"type": "started", "attempt": 1},
        *(
            {"type": "item", "item_index": n, "status": "created", "reason": None, "title": f"T{n}"}
            for n in range(created)
        ),
        {"type": "progress", "done": 50, "total": 100, "unit": "bytes", "phase": "importing"},
        {"type": "done", "response": {"conversations": counts, "messages": messages}},
    ]


UNREADABLE = {
    "type": "error",
    "code": "unreadable_import",
    "message": "The file is JSON, but no export.",
    "retryable": False,
}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    file = tmp_path / "files" / "conversations.json"
    file.parent.mkdir()
    file.write_text('[{"id": 1}]')
    return file


def import_rows(output: str) -> list[Json]:
    found: list[Json] = json.loads(output)["imports"]
    return found
