"""`backchannel up`, with every part real."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from cli.processes import PROCESSES
from tests.running import clean_environment, running, started
from tests.servers import free_port, wait_until


def backchannel(folder: Path, *args: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One call of the command, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    defaults = {"DATA_DIR": str(folder / "data"), "PORT": str(free_port()), "FLOWER_PORT": str(free_port())}
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli", *args],
        cwd=folder,
        env=clean_environment(**(defaults | settings)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
def test_it_keeps_the_house_running_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path) as copy:
        pids = {name: copy.pid(name) for name in PROCESSES}
        assert httpx.get(f"{copy.url}/health", trust_env=False, timeout=30).json()["status"] == "healthy"
        assert httpx.get(f"{copy.flower_url}/tasks", trust_env=False, timeout=30).status_code == 200
        listening = psutil.Process(pids["redis"]).net_connections("inet")
        assert not listening, "the private Redis listens on a socket file alone"

        refused = backchannel(tmp_path, "up", DATA_DIR=str(copy.data_dir))
        assert refused.returncode == 1
        assert f"already running on {copy.data_dir} (pid {copy.process.pid})" in refused.stderr

        doctor = backchannel(
            tmp_path, "doctor", **{name: copy.env[name] for name in ("DATA_DIR", "PORT", "FLOWER_PORT")}
        )
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr

        gone = {name: copy.kill(name) for name in ("background", "web", "redis")}
        for name, pid in gone.items():
            successor = copy.wait_ready(name, not_pid=pid)
            assert successor not in pids.values()
            assert copy.events("died", name)[-1]["code"] == -signal.SIGKILL
            pids[name] = successor
        assert httpx.get(f"{copy.url}/api/status", trust_env=False, timeout=30).json()["missing_workers"] == []

        assert copy.stop() == 0
        assert {event["process"] for event in copy.events("stopped")} == set(PROCESSES)
        assert not alive(list(pids.values()))
        assert not list((copy.data_dir / "run").glob("*.pid"))


@pytest.mark.slow
def test_when_up_itself_is_killed_its_processes_go_and_the_next_one_starts_cleanly(tmp_path: Path) -> None:
    with started(tmp_path, VOICE_ENABLED="false") as copy:
        copy.wait(lambda: copy.events("ready", "redis"), 60, "redis")
        pids = [copy.pid(name) for name in ("redis", "chroma", "web", "index")]
        copy.process.kill()
        copy.process.wait()
        if sys.platform == "linux":
            wait_until(lambda: not alive(pids), 30, "the orphans to end")
    # What the kernel does not end by itself, the next `up` does.
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (copy.data_dir / "run" / "beat.pid").write_text(f"{orphan.pid}\n")
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    recycled = copy.data_dir / "run" / "flower.pid"
    recycled.write_text(f"{stranger.pid}\n")
    os.utime(recycled, (1, 1))
    try:
        with started(tmp_path, VOICE_ENABLED="false") as copy:
            copy.wait(lambda: copy.events("ready", "redis"), 60, "redis")
            assert orphan.wait(10) == -signal.SIGTERM
            assert stranger.poll() is None, "a pid that was given out again is not ours to end"
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("name", ["PORT", "FLOWER_PORT"])
def test_a_taken_port_is_one_sentence_before_anything_starts(tmp_path: Path, name: str) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = str(squatter.getsockname()[1])
        done = backchannel(tmp_path, "up", **{name: port})
    assert done.returncode == 1
    expected = f"{name} {port} on 127.0.0.1 is taken by another program; stop that, or set {name} to a free port."
    assert done.stderr == f"Error: {expected}\n"
    assert not list((tmp_path / "data").rglob("*.pid"))


def test_a_bad_setting_is_one_sentence(tmp_path: Path) -> None:
    done = backchannel(tmp_path, "up", PORT="eighty")
    assert done.returncode == 2
    assert done.stderr.startswith("PORT: Input should be a valid integer")
    assert "Traceback" not in done.stderr


def test_a_data_dir_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = backchannel(tmp_path, "up", DATA_DIR=str(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be used" in done.stderr


@pytest.mark.slow
def test_a_database_that_does_not_answer_ends_it_with_a_sentence(tmp_path: Path) -> None:
    url = f"postgresql://somebody:secret@127.0.0.1:{free_port()}/nothing"
    done = backchannel(tmp_path, "up", DATABASE_URL=url)
    assert done.returncode == 1
    assert "Cannot use the postgresql database nothing at 127.0.0.1" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.slow
def test_migrations_by_hand(tmp_path: Path) -> None:
    assert "nothing yet" in backchannel(tmp_path, "db", "current").stdout
    assert "from nothing to" in backchannel(tmp_path, "db", "upgrade").stdout
    assert "already the newest" in backchannel(tmp_path, "db", "upgrade").stdout
    assert backchannel(tmp_path, "db", "check").returncode == 0
    assert '"up_to_date": true' in backchannel(tmp_path, "db", "current", "--json").stdout
