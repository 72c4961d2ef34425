"""`backchannel import`: what is sent, what is told of it, and what is told of failures."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from tests.cli.conftest import UNREADABLE, Run, import_rows, import_script
from tests.cli.stand_in import StandIn
from tests.servers import wait_until

# --- one file ---


def test_a_file_is_sent_followed_and_told(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script(created=1234, messages=56789)]
    result = run("import", export)
    assert result.exit_code == 0, result.stderr
    for word in ("created", "1,234", "56,789", "1.2 s", stand_in.uploads[0].job_id[-12:]):
        assert word in result.stdout
    assert stand_in.uploads[0].filename == "conversations.json"
    assert stand_in.uploads[0].size == export.stat().st_size


def test_json(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()]
    (export.parent / "notes.txt").touch()
    result = run("import", export.parent, "--json")
    assert json.loads(result.stdout) == {
        "imports": [
            {
                "file": str(export),
                "status": "succeeded",
                "job_id": stand_in.uploads[0].job_id,
                "conversations": {"created": 3, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 0},
                "messages": 12,
                "run_ms": 1234,
                "error": None,
                "failed_items": [],
            }
        ],
        "skipped": [{"file": str(export.parent / "notes.txt"), "reason": "of another kind"}],
    }


def test_failed_items_are_listed_and_fail_the_command(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script(failed=450)]
    job = stand_in.add_job("import", import_script(failed=450))
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
    assert len(import_rows(again.stdout)[0]["failed_items"]) == 450


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
    stand_in.scripts = [import_script(), [UNREADABLE], import_script()]
    result = run("import", *(tmp_path / name for name in ("a.json", "b.json", "c.json")), "--json")
    assert result.exit_code == 1
    assert [row["status"] for row in import_rows(result.stdout)] == ["succeeded", "failed", "succeeded"]
    assert import_rows(result.stdout)[1]["error"] == "The file is JSON, but no export."


def test_what_several_failures_end_with_is_told_once(stand_in: StandIn, run: Run, tmp_path: Path) -> None:
    messages = ["A picture. Accepted are zips.", "A page. Accepted are zips.", "Cut short.", "Cut short."]
    files = [tmp_path / f"{number}.json" for number in range(4)]
    for file in files:
        file.write_text(file.name)
    stand_in.scripts = [[UNREADABLE | {"message": message}] for message in messages]
    result = run("import", *files)
    told = result.stdout.partition("Failed:\n")[2]
    assert told.splitlines() == [
        f"  {files[0]}: A picture.",
        f"  {files[1]}: A page.",
        f"  {files[2]}: Cut short.",
        f"  {files[3]}: Cut short.",
        "",
        "Accepted are zips.",
    ]


def test_a_folder_of_hundreds_keeps_few_jobs_in_flight(stand_in: StandIn, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:03}.json").write_text(str(number))
    stand_in.scripts = [import_script()]
    result = run("import", folder, "--json")
    assert result.exit_code == 0
    assert len(import_rows(result.stdout)) == len(stand_in.uploads) == 300
    sent = followed = 0
    for request in stand_in.requests:
        sent += request.path == "/api/imports"
        followed += request.path.endswith("/events")
        assert sent - followed <= 4


def test_the_same_content_is_sent_once(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()]
    copy = export.with_name("copy.json")
    copy.write_bytes(export.read_bytes())
    result = run("import", export, copy, export, "--json")
    assert [row["file"] for row in import_rows(result.stdout)] == [str(export)]
    assert len(stand_in.uploads) == 1
    assert f"{copy} is the same as {export}." in result.stderr


def test_what_is_skipped_is_told(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()]
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


# --- without waiting ---


def test_no_wait_prints_ids_only(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()[:2]]
    first = run("import", export, "--no-wait")
    again = run("import", export, "--no-wait")
    assert first.exit_code == 0
    assert first.stdout == again.stdout == f"{stand_in.uploads[0].job_id}\n"
    assert stand_in.asked("GET .*/events") == []
    stand_in.tell(stand_in.uploads[0].job_id, {"type": "cancelled"})
    assert run("import", export, "--no-wait").stdout != first.stdout


# --- the index ---


def test_indexing_that_still_runs_is_told(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()]
    running = stand_in.add_job("embed", [{"type": "started", "attempt": 1}])
    running["progress"] = {"done": 120, "total": 5000, "unit": "conversations"}
    assert "120 of 5,000 conversations" in run("import", export).stderr
    stand_in.tell(running["id"], {"type": "done", "response": {}})
    assert "Found by title and by meaning" in run("import", export).stderr


def test_wait_index(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()]
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
