"""The commands against a running copy: import, find, ask; and a web process that is killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.client import Client
from tests.exports import chatgpt_conversation, chatgpt_json, chatgpt_zip, write_big_export
from tests.running import Running, running

Call = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("copy"), VOICE_ENABLED="false") as made:
        yield made


@pytest.fixture
def environment(copy: Running, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "BACKCHANNEL_URL": copy.url, "XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "200"}


@pytest.fixture
def call(environment: dict[str, str]) -> Call:
    def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli", *map(str, args)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)

    return run


def test_import_find_ask(call: Call, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    roses = chatgpt_conversation(
        "roses", "Pruning roses", [("user", "When do I prune roses?"), ("assistant", "In March.")]
    )
    bread = chatgpt_conversation("bread", "Baking bread", [("user", "How long does dough rest?")])
    (tmp_path / "old" / "conversations.json").write_bytes(chatgpt_json([roses, {"id": "broken", "mapping": 3}]))
    (tmp_path / "new.zip").write_bytes(chatgpt_zip([roses, bread]))

    imported = call("import", tmp_path / "old", tmp_path / "new.zip", "--wait-index", "--json")
    assert imported.returncode == 1, imported.stderr
    first, second = json.loads(imported.stdout)["imports"]
    assert (first["conversations"]["created"], first["conversations"]["failed"]) == (1, 1)
    assert first["failed_items"][0]["reason"]
    assert (second["conversations"]["created"], second["conversations"]["failed"]) == (1, 0)

    found = call("search", "prune", "roses")
    assert found.returncode == 0, found.stderr
    assert "Pruning roses" in found.stdout

    answer = call("chat", "--new", "When do I prune roses?")
    assert answer.returncode == 0, answer.stderr
    assert "Pruning roses" in answer.stdout.partition("Sources:")[2]

    newest = json.loads(call("jobs", "list", "--kind", "chat", "--limit", "1", "--json").stdout)[0]
    watched = call("jobs", "watch", newest["id"][-8:], "--json")
    assert watched.returncode == 0
    events = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [event["sequence_number"] for event in events] == list(range(1, len(events) + 1))
    assert "".join(event.get("content", "") for event in events) == events[-1]["response"]["content"]


def test_a_killed_web_process_costs_nothing(
    copy: Running, call: Call, environment: dict[str, str], tmp_path: Path
) -> None:
    export = tmp_path / "conversations.json"
    count = write_big_export(export, megabytes=12, seed=5)
    command = [sys.executable, "-m", "cli", "import", str(export), "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        with Client(copy.url) as client:
            copy.wait(lambda: client.jobs(1, kind="import", status="running"), what="the import to run")
        copy.kill("web")
        stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 0, stderr
    assert "Trying again" in stderr, "the import was over before the web process was killed"
    (row,) = json.loads(stdout)["imports"]
    assert row["conversations"] == {"created": count, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 0}
    (job,) = [
        job
        for job in json.loads(call("jobs", "list", "--kind", "import", "--json").stdout)
        if job["id"] == row["job_id"]
    ]
    assert job["status"] == "succeeded"
