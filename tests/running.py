"""Backchannel as people run it: `backchannel up` on free ports, in its own DATA_DIR, with every part real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.settings import Settings
from tests.servers import free_port, wait_until

Json = dict[str, Any]
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0


@dataclass
class Running:
    """A running copy. `kill` and `pid` take a process's name: web, generate, index, background, redis, chroma …"""

    process: subprocess.Popen[bytes]
    data_dir: Path
    url: str
    flower_url: str
    log_path: Path
    env: dict[str, str] = field(repr=False)

    def events(self, kind: str | None = None, process: str | None = None) -> list[Json]:
        """What `up` told so far, oldest first; `kind` as in its --json: started, ready, died, restarted, log …"""
        found = []
        for line in self.log_path.read_text(errors="replace").splitlines():
            with suppress(ValueError):  # the last line may be half written; a traceback is no JSON
                event = json.loads(line)
                if (kind is None or event["event"] == kind) and (process is None or event.get("process") == process):
                    found.append(event)
        return found

    def log(self, process: str | None = None) -> str:
        """What the processes themselves wrote."""
        return "\n".join(event["line"] for event in self.events("log", process))

    def pid(self, name: str) -> int:
        """Waits while the process is not there: it may just be started again."""
        path = self.data_dir / "run" / f"{name}.pid"
        wait_until(path.exists, what=f"{name} to run")
        return int(path.read_text())

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal; returns the pid it went to. SIGSTOP pauses, SIGCONT continues."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def wait_ready(self, name: str, *, not_pid: int | None = None, timeout_s: float = 30.0) -> int:
        """Wait until `name` is ready, as another process than `not_pid`; its pid."""

        def found() -> list[int]:
            ready = [event["pid"] for event in self.events("ready", name)]
            return [pid for pid in ready[-1:] if pid != not_pid]

        wait_until(found, timeout_s, f"{name} to be ready")
        return found()[0]

    def kill_and_wait(self, name: str) -> int:
        """kill -9, then wait for the successor to be ready; its pid."""
        return self.wait_ready(name, not_pid=self.kill(name))

    def wait(self, condition: Callable[[], object], timeout_s: float = 30.0, what: str = "the condition") -> None:
        """Poll until true, while everything still runs."""

        def holds() -> object:
            assert self.process.poll() is None, "backchannel up has ended"
            return condition()

        wait_until(holds, timeout_s, what)

    def stop(self) -> int:
        """SIGTERM, as a platform does; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


def clean_environment(**settings: str) -> dict[str, str]:
    """Ours, without any setting of the machine or of the test run, and with these."""
    names = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in names}
    return kept | {"EMBEDDING_BACKEND": "hashing"} | settings


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Running]:
    """`backchannel up` in `folder`, ready; `settings` by their environment names. A failing test shows its log."""
    with started(folder, **settings) as copy:
        wait_until(lambda: copy.process.poll() is not None or copy.events("up"), READY_TIMEOUT_S, "backchannel up")
        assert copy.process.poll() is None, "backchannel up has ended before it was ready"
        yield copy


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[Running]:
    """Like `running`, without waiting."""
    data_dir = folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    defaults = {"DATA_DIR": str(data_dir), "PORT": str(free_port()), "FLOWER_PORT": str(free_port())}
    env = clean_environment(**(defaults | settings))
    log_path = folder / f"up-{time.monotonic_ns()}.log"
    with log_path.open("wb") as log:
        # In `folder`, so that no .env of a checkout is read.
        argv = [sys.executable, "-P", "-m", "cli", "up", "--json"]
        process = subprocess.Popen(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    urls = (f"http://127.0.0.1:{env['PORT']}", f"http://127.0.0.1:{env['FLOWER_PORT']}")
    copy = Running(process, Path(env["DATA_DIR"]), *urls, log_path, env)
    try:
        yield copy
    except BaseException:
        print(f"--- {log_path}\n{_readable(copy)}")  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        _end(copy)


def _readable(copy: Running) -> str:
    lines = []
    for line in copy.log_path.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
            lines.append(f"{event.get('process', 'backchannel'):<12}| {event.get('line', event.get('message'))}")
        except ValueError:
            lines.append(line)
    return "\n".join(lines[-400:])


def _end(copy: Running) -> None:
    """Leave nothing behind, not even of a copy that does not stop."""
    try:
        copy.stop()
    except subprocess.TimeoutExpired:
        copy.process.kill()
        copy.process.wait()
        for path in (copy.data_dir / "run").glob("*.pid"):
            with suppress(OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)
        raise AssertionError(f"backchannel up did not stop within {STOP_TIMEOUT_S} s") from None
