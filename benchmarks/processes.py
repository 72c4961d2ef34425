"""Processes of a measurement: started in an environment of their own, stopped whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cli.run import SUPERVISOR
from config.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
STOP_S = 10.0


class Trouble(Exception):
    """A section cannot be measured, and why, in a sentence."""


def clean_environment(**values: str) -> dict[str, str]:
    """Ours without any setting of Backchannel, plus `values`: a measurement is of the defaults and what it names."""
    settings = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in settings}
    return {**kept, "PYTHONPATH": str(ROOT), SUPERVISOR: str(os.getpid()), **values}


def wait_until(condition: Callable[[], object], timeout_s: float, what: str, every_s: float = 0.02) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise Trouble(f"gave up waiting for {what} after {timeout_s:g} s")
        time.sleep(every_s)


def python(module: str, *args: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-P", "-m", module, *args]


class Child:
    """A process that writes to a log in `folder`. In a session of its own: Ctrl-C reaches us, and we stop it."""

    def __init__(self, name: str, *command: str, folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_ready(self, is_ready: Callable[[], object], timeout_s: float = 90.0) -> None:
        def ready_or_dead() -> bool:
            if self.process.poll() is not None:
                raise Trouble(f"{self.name} ended with exit code {self.process.returncode}:\n{self.log_tail()}")
            return bool(is_ready())

        wait_until(ready_or_dead, timeout_s, self.name)

    def log_tail(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)  # one that is held still would not hear it
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Peer:
    """A Python process that calls functions of one benchmark module when asked to: `benchmarks.peer` is its other end.

    What needs settings, a loaded model or a core of its own happens there, so that this process stays out of the way.
    """

    def __init__(self, module: str, *, folder: Path, env: Mapping[str, str]) -> None:
        self._module = module
        self._log = folder / f"{module.rpartition('.')[2]}.peer.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                python("benchmarks.peer", module),
                cwd=folder, env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, function: str, timeout_s: float = 300.0, **arguments: Any) -> Any:
        """What `function(**arguments)` returned there, as JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(timeout_s, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps([function, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise Trouble(f"{self._module}.{function} ended without an answer:\n{tail}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # it leaves when nobody asks any more
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
