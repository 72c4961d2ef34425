"""`backchannel import` that is interrupted: by Ctrl-C, a lost server, a lost answer, a full queue."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from cli.client import Client
from tests.cli.conftest import UNREADABLE, Run, Start, import_rows, import_script
from tests.cli.stand_in import StandIn
from tests.servers import wait_until


def test_a_lost_server_leaves_the_job_and_the_next_run_finds_it(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()[:3]]
    threading.Thread(target=lambda: (wait_until(lambda: stand_in.asked("GET .*/events")), stand_in.stop())).start()
    lost = run("import", export)
    assert lost.exit_code == 1
    assert "the same command again finds it" in lost.stdout
    stand_in.start()
    for event in import_script()[3:]:
        stand_in.tell(stand_in.uploads[0].job_id, event)
    found = run("import", export, "--json")
    assert found.exit_code == 0
    assert import_rows(found.stdout)[0]["job_id"] == stand_in.uploads[0].job_id
    assert len(stand_in.uploads) == 1
    stand_in.scripts = [import_script()]
    run("import", export)
    assert len({upload.job_id for upload in stand_in.uploads}) == 2, "once its end was seen, a new import is meant"


def test_ctrl_c_leaves_the_job_and_the_next_run_finds_it(
    stand_in: StandIn, start: Start, run: Run, export: Path
) -> None:
    stand_in.scripts = [import_script()[:3]]
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
    for event in import_script()[3:]:
        stand_in.tell(job_id, event)
    assert run("import", export).exit_code == 0
    assert len(stand_in.uploads) == 1


def test_an_answer_that_was_lost_makes_no_second_job(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()]
    stand_in.drop_answers = 2
    result = run("import", export, "--json")
    assert result.exit_code == 0
    assert len(stand_in.uploads) == 3
    assert len(stand_in.jobs) == 1


def test_a_renamed_file_is_the_same_request(
    stand_in: StandIn, run: Run, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.scripts = [import_script()]
    stand_in.drop_answers = 1
    monkeypatch.setattr(Client, "patience_s", 0.0)
    assert run("import", export).exit_code == 1
    renamed = export.rename(export.with_name("other.json"))
    assert run("import", renamed).exit_code == 0
    assert [upload.filename for upload in stand_in.uploads] == ["conversations.json", "conversations.json"]
    assert len(stand_in.jobs) == 1


def test_a_wiped_server_gets_the_file_again(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()]
    run("import", export, "--no-wait")
    stand_in.jobs.clear()
    stand_in.keys.clear()
    assert run("import", export).exit_code == 0
    assert len(stand_in.uploads) == 2


def test_a_job_that_failed_unseen_is_tried_again(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()[:2]]
    run("import", export, "--no-wait")
    stand_in.tell(stand_in.uploads[0].job_id, UNREADABLE)
    stand_in.scripts = [import_script()]
    assert run("import", export).exit_code == 0
    assert len(stand_in.uploads) == 1
    assert len(stand_in.asked("POST .*/retry")) == 1


def test_a_server_that_stays_away_is_waited_for_once(stand_in: StandIn, run: Run, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(8)]
    for file in files:
        file.write_text(file.name)
    stand_in.scripts = [import_script()[:3]]
    threading.Thread(target=lambda: (wait_until(lambda: stand_in.asked("GET .*/events")), stand_in.stop())).start()
    result = run("import", *files, "--json")
    rows = import_rows(result.stdout)
    assert result.exit_code == 1
    assert result.stderr.count("Trying again") == 1
    assert all("finds it" in row["error"] for row in rows[:4])
    assert all(row["error"] == "Not sent, because the server is away." for row in rows[4:])


def test_a_full_queue_is_waited_out(stand_in: StandIn, run: Run, export: Path) -> None:
    stand_in.scripts = [import_script()]
    full = {"detail": "The import queue is full; try again later.", "code": "queue_full"}
    stand_in.refusals = [("POST /api/imports", 429, full, {"Retry-After": "0"})] * 2
    assert run("import", export).exit_code == 0


def test_why_a_job_waits_is_told_once(stand_in: StandIn, run: Run, export: Path) -> None:
    job = stand_in.add_job("import", [], blocked_by="no worker is serving the import queue")
    stand_in.add_job = lambda *_: job  # type: ignore[method-assign]

    def go_on_later() -> None:
        wait_until(lambda: len(stand_in.asked(f"GET .*/{job['id']}")) >= 3)
        for event in import_script():
            stand_in.tell(job["id"], event)

    threading.Thread(target=go_on_later).start()
    result = run("import", export)
    assert result.exit_code == 0
    assert result.stderr.count("Waiting: no worker is serving the import queue.") == 1
