"""`backchannel import`: whatever is interrupted is found again, and what went wrong is told."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client
from cli.exports import Memory, find
from tests.cli.conftest import Run, Start
from tests.cli.stand_in import StandIn
from tests.servers import wait_until

Json = dict[str, Any]


def script(created: int = 3, failed: int = 0, messages: int = 12) -> list[Json]:
    counts = {"created": created, "updated": 0, "unchanged": 0, "failed": failed}
    return [
        {"type": "started", "attempt": 1},
        *(
            {"type": "item", "item_index": n, "status": "created", "reason": None, "title": f"T{n}"}
            for n in range(created)
        ),
        {"type": "progress", "done": 50, "total": 100, "unit": "bytes", "phase": "importing"},
        {"type": "done", "response": {"conversations": counts, "messages": messages}},
    ]


ERROR = {
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


def imports(output: str) -> list[Json]:
    found: list[Json] = json.loads(output)["imports"]
    return found


# --- one file ---


def test_a_file_is_sent_followed_and_told(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script(created=1234, messages=56789)]
    result = run("import", export)
    assert result.exit_code == 0, result.stderr
    for word in ("created", "1,234", "56,789", "1.2 s", stand_in.uploads[0].job_id[-12:]):
        assert word in result.stdout
    assert stand_in.uploads[0].filename == "conversations.json"
    assert stand_in.uploads[0].size == export.stat().st_size


def test_json(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()]
    (export.parent / "notes.txt").touch()
    result = run("import", export.parent, "--json")
    assert json.loads(result.stdout) == {
        "imports": [
            {
                "file": str(export),
                "status": "succeeded",
                "job_id": stand_in.uploads[0].job_id,
                "conversations": {"created": 3, "updated": 0, "unchanged": 0, "failed": 0},
                "messages": 12,
                "run_ms": 1234,
                "error": None,
                "failed_items": [],
            }
        ],
        "skipped": [{"file": str(export.parent / "notes.txt"), "reason": "of another kind"}],
    }


def test_failed_items_are_listed_and_fail_the_command(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script(failed=450)]
    job = stand_in.add_job("import", script(failed=450))
    stand_in.items[job["id"]] = [
        {
            "item_index": n,
            "status": "failed",
            "reason": f"no messages, {n}",
            "title": None if n else "A [bold]title\x1b[31m",
        }
        for n in range(450)
    ]
    stand_in.add_job = lambda *_: job  # type: ignore[method-assign]
    result = run("import", export)
    assert result.exit_code == 1
    assert "A [bold]title[31m: no messages, 0" in result.stdout
    assert "conversation 2: no messages, 1" in result.stdout
    assert "350 more" in result.stdout
    again = run("import", export, "--json")
    assert len(imports(again.stdout)[0]["failed_items"]) == 450


def test_a_refused_file_is_a_sentence(stand_in: StandIn, run: Run, export: Path) -> None:
    problem = {"detail": "The file is larger than 4 MiB.", "code": "too_large"}
    stand_in.refusals = [("POST /api/imports", 413, problem, {})]
    result = run("import", export)
    assert result.exit_code == 1
    assert f"{export}: The file is larger than 4 MiB." in result.stdout


def test_no_server(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.stop()
    result = run("import", export)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: Backchannel does not answer at http")
    assert result.stderr.count("\n") == 1


def test_a_path_that_is_not_there(run: Run) -> None:
    result = run("import", "/no/such/file")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


# --- several files ---


def test_it_goes_on_after_a_failure(stand_in: StandIn, run: Run, tmp_path: Path) -> None:
    for name in ("a.json", "b.json", "c.json"):
        (tmp_path / name).write_text(name)
    stand_in.scripts = [script(), [ERROR], script()]
    result = run("import", *(tmp_path / name for name in ("a.json", "b.json", "c.json")), "--json")
    assert result.exit_code == 1
    assert [row["status"] for row in imports(result.stdout)] == ["succeeded", "failed", "succeeded"]
    assert imports(result.stdout)[1]["error"] == "The file is JSON, but no export."


def test_a_folder_of_hundreds_keeps_few_jobs_in_flight(stand_in: StandIn, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:03}.json").write_text(str(number))
    stand_in.scripts = [script()]
    result = run("import", folder, "--json")
    assert result.exit_code == 0
    assert len(imports(result.stdout)) == len(stand_in.uploads) == 300
    sent = followed = 0
    for request in stand_in.requests:
        sent += request.path == "/api/imports"
        followed += request.path.endswith("/events")
        assert sent - followed <= 4


def test_the_same_content_is_sent_once(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()]
    copy = export.with_name("copy.json")
    copy.write_bytes(export.read_bytes())
    result = run("import", export, copy, export, "--json")
    assert [row["file"] for row in imports(result.stdout)] == [str(export)]
    assert len(stand_in.uploads) == 1
    assert f"{copy} is the same as {export}." in result.stderr


def test_which_files_of_a_folder(tmp_path: Path) -> None:
    names = [
        "a.json", "b.ZIP", "chat.html", "llm/logs.db", "picture.png", ".hidden.json", "__MACOSX/a.json", ".git/b.json",
        "unpacked/conversations-000.json", "unpacked/conversations.json", "unpacked/user.json", "unpacked/chat.html",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "again.json").symlink_to(tmp_path / "a.json")
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nothing")
    found = find([tmp_path, tmp_path / "picture.png", tmp_path])
    taken = sorted(str(one.path.relative_to(tmp_path)) for one in found if not one.why)
    assert taken == [
        "a.json",
        "b.ZIP",
        "chat.html",
        "llm/logs.db",
        "picture.png",
        "unpacked/conversations-000.json",
        "unpacked/conversations.json",
    ]
    why = {str(one.path.relative_to(tmp_path)): one.why for one in found if one.why}
    assert why.pop("dangling.json") == "not a regular file"
    assert set(why) == {".hidden.json", "__MACOSX", ".git", "unpacked/chat.html", "unpacked/user.json"}


def test_what_is_skipped_is_told(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()]
    for name in ("a.png", "b.png", "c.txt", ".d", "user.json"):
        (export.parent / name).touch()
    told = run("import", export.parent).stderr
    assert "1 hidden" in told
    assert "3 of another kind (.png, .txt)" in told
    assert "1 part of an unpacked export" in told


def test_nothing_to_import(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("import", tmp_path / "empty")
    assert result.exit_code == 1
    assert "no export file" in result.stderr


# --- interrupted ---


def test_a_lost_server_leaves_the_job_and_the_next_run_finds_it(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()[:3]]
    threading.Thread(target=lambda: (wait_until(lambda: stand_in.asked("GET .*/events")), stand_in.stop())).start()
    lost = run("import", export)
    assert lost.exit_code == 1
    assert "the same command again finds it" in lost.stdout
    stand_in.start()
    for event in script()[3:]:
        stand_in.tell(stand_in.uploads[0].job_id, event)
    found = run("import", export, "--json")
    assert found.exit_code == 0
    assert imports(found.stdout)[0]["job_id"] == stand_in.uploads[0].job_id
    assert len(stand_in.uploads) == 1
    stand_in.scripts = [script()]
    run("import", export)
    assert len({upload.job_id for upload in stand_in.uploads}) == 2, "once its end was seen, a new import is meant"


def test_ctrl_c_leaves_the_job_and_the_next_run_finds_it(
    stand_in: StandIn, start: Start, run: Run, export: Path
) -> None:
    stand_in.scripts = [script()[:3]]
    process = start("import", export)
    wait_until(lambda: stand_in.asked("GET .*/events"), what="the command to follow its job")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "goes on in the server" in stderr
    assert "Traceback" not in stderr
    assert "conversations.json" in stdout
    job_id = stand_in.uploads[0].job_id
    assert stand_in.jobs[job_id]["status"] == "running"
    for event in script()[3:]:
        stand_in.tell(job_id, event)
    assert run("import", export).exit_code == 0
    assert len(stand_in.uploads) == 1


def test_an_answer_that_was_lost_makes_no_second_job(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()]
    stand_in.drop_answers = 2
    result = run("import", export, "--json")
    assert result.exit_code == 0
    assert len(stand_in.uploads) == 3
    assert len(stand_in.jobs) == 1


def test_a_renamed_file_is_the_same_request(
    stand_in: StandIn, run: Run, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.scripts = [script()]
    stand_in.drop_answers = 1
    monkeypatch.setattr(Client, "patience_s", 0.0)
    assert run("import", export).exit_code == 1
    renamed = export.rename(export.with_name("other.json"))
    assert run("import", renamed).exit_code == 0
    assert [upload.filename for upload in stand_in.uploads] == ["conversations.json", "conversations.json"]
    assert len(stand_in.jobs) == 1


def test_a_wiped_server_gets_the_file_again(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()]
    run("import", export, "--no-wait")
    stand_in.jobs.clear()
    stand_in.keys.clear()
    assert run("import", export).exit_code == 0
    assert len(stand_in.uploads) == 2


def test_a_job_that_failed_unseen_is_tried_again(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()[:2]]
    run("import", export, "--no-wait")
    stand_in.tell(stand_in.uploads[0].job_id, ERROR)
    stand_in.scripts = [script()]
    assert run("import", export).exit_code == 0
    assert len(stand_in.uploads) == 1
    assert len(stand_in.asked("POST .*/retry")) == 1


def test_a_server_that_stays_away_is_waited_for_once(stand_in: StandIn, run: Run, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(8)]
    for file in files:
        file.write_text(file.name)
    stand_in.scripts = [script()[:3]]
    threading.Thread(target=lambda: (wait_until(lambda: stand_in.asked("GET .*/events")), stand_in.stop())).start()
    result = run("import", *files, "--json")
    rows = imports(result.stdout)
    assert result.exit_code == 1
    assert result.stderr.count("Trying again") == 1
    assert all("finds it" in row["error"] for row in rows[:4])
    assert all(row["error"] == "Not sent, because the server is away." for row in rows[4:])


def test_a_full_queue_is_waited_out(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()]
    full = {"detail": "The import queue is full; try again later.", "code": "queue_full"}
    stand_in.refusals = [("POST /api/imports", 429, full, {"Retry-After": "0"})] * 2
    assert run("import", export).exit_code == 0


def test_why_a_job_waits_is_told_once(stand_in: StandIn, run: Run, export: Path) -> None:
    job = stand_in.add_job("import", [], blocked_by="no worker is serving the import queue")
    stand_in.add_job = lambda *_: job  # type: ignore[method-assign]

    def go_on_later() -> None:
        wait_until(lambda: len(stand_in.asked(f"GET .*/{job['id']}")) >= 3)
        for event in script():
            stand_in.tell(job["id"], event)

    threading.Thread(target=go_on_later).start()
    result = run("import", export)
    assert result.exit_code == 0
    assert result.stderr.count("Waiting: no worker is serving the import queue.") == 1


# --- without waiting ---


def test_no_wait_prints_ids_only(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()[:2]]
    first = run("import", export, "--no-wait")
    again = run("import", export, "--no-wait")
    assert first.exit_code == 0
    assert first.stdout == again.stdout == f"{stand_in.uploads[0].job_id}\n"
    assert stand_in.asked("GET .*/events") == []
    stand_in.tell(stand_in.uploads[0].job_id, {"type": "cancelled"})
    assert run("import", export, "--no-wait").stdout != first.stdout


# --- the index ---


def test_indexing_that_still_runs_is_told(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()]
    running = stand_in.add_job("embed", [{"type": "started", "attempt": 1}])
    running["progress"] = {"done": 120, "total": 5000, "unit": "conversations"}
    assert "120 of 5,000 conversations" in run("import", export).stderr
    stand_in.tell(running["id"], {"type": "done", "response": {}})
    assert "Found by title and by meaning" in run("import", export).stderr


def test_wait_index(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [script()]
    running = stand_in.add_job("embed", [{"type": "started", "attempt": 1}])
    threading.Thread(
        target=lambda: (
            wait_until(lambda: stand_in.asked(f"GET .*/{running['id']}/events")),
            stand_in.tell(running["id"], {"type": "done", "response": {}}),
        )
    ).start()
    result = run("import", export, "--wait-index")
    assert result.exit_code == 0
    assert "Found by title and by meaning" in result.stderr


# --- what is remembered ---


def test_memory_survives_damage_and_a_folder_it_may_not_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    memory = Memory("http://a")
    entry = memory.begin("d" * 64, "name.json")
    assert memory.recall("d" * 64) == entry
    assert Memory("http://b").recall("d" * 64) is None
    (kept,) = tmp_path.rglob("*.json")
    for damage in ("", "[]", '{"key": 1}', "\0"):
        kept.write_text(damage)
        assert memory.recall("d" * 64) is None
    memory.forget("d" * 64)
    memory.forget("d" * 64)
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    assert Memory("http://a").begin("d" * 64, "name.json").key != entry.key
