"""The supervisor, with real child processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.supervisor import BACKOFF_MAX_S, MAX_LINE_BYTES, Spec, Supervisor, describe_exit, restart_delay

SLEEP = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
)


@dataclass
class House:
    run_dir: Path
    grace_s: float = 20.0
    told: list[tuple[str, str | None, dict[str, Any]]] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.run_dir, self._tell, self._line, grace_s=self.grace_s)

    def _tell(self, kind: str, process: str | None, _text: str, **fields: Any) -> None:
        self.told.append((kind, process, fields))

    def _line(self, process: str, line: str) -> None:
        self.lines.append((process, line))

    def start(self, name: str, code: str, wave: int = 0, **env: str) -> None:
        self.supervisor.start(Spec(name, (sys.executable, "-S", "-c", code), env, wave))

    def kinds(self, name: str) -> list[str]:
        return [kind for kind, process, _ in self.told if process == name]

    def pid(self, name: str) -> int:
        pid = self.supervisor.children[name].pid
        assert pid is not None
        return pid

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - conditions are about other processes
                await asyncio.sleep(0.01)

    async def says(self, name: str, line: str = "here") -> None:
        await self.until(lambda: (name, line) in self.lines)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Run a coroutine function with a House; whatever is left of it is killed."""
    houses: list[House] = []

    def run(body: Callable[[House], Awaitable[None]], **options: Any) -> None:
        async def inside() -> None:
            made = House(tmp_path, **options)
            houses.append(made)
            try:
                await body(made)
            finally:
                made.supervisor.hurry()
                await made.supervisor.stop()

        asyncio.run(inside())

    yield run
    for made in houses:
        assert not [child.pid for child in made.supervisor.children.values() if child.pid is not None]


def test_the_first_death_is_answered_at_once_and_then_it_backs_off() -> None:
    delays = [restart_delay(deaths) for deaths in range(1, 12)]
    assert delays[:5] == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == BACKOFF_MAX_S
    assert restart_delay(100_000) == BACKOFF_MAX_S


def test_exits_are_described_in_words() -> None:
    assert describe_exit(1) == "exit code 1"
    assert describe_exit(-9) == "killed by SIGKILL"
    assert describe_exit(-200) == "killed by signal 200"


def test_what_dies_is_started_again(house: Callable[..., None]) -> None:
    async def body(home: House) -> None:
        home.start("one", SLEEP)
        await home.says("one")
        first = home.pid("one")
        assert int((home.run_dir / "one.pid").read_text()) == first
        os.kill(first, signal.SIGKILL)
        await home.until(lambda: home.kinds("one") == ["started", "died", "restarted"])
        assert home.pid("one") != first
        assert int((home.run_dir / "one.pid").read_text()) == home.pid("one")
        died = next(fields for kind, _, fields in home.told if kind == "died")
        assert died["code"] == -signal.SIGKILL
        assert died["restart_in_s"] == 0

    house(body)


def test_what_keeps_dying_waits_longer_each_time(house: Callable[..., None]) -> None:
    async def body(home: House) -> None:
        home.start("one", "raise SystemExit(3)")
        await home.until(lambda: home.kinds("one").count("died") == 3)
        died = [fields for kind, _, fields in home.told if kind == "died"]
        assert [fields["restart_in_s"] for fields in died] == [0.0, 0.5, 1.0]
        assert {fields["code"] for fields in died} == {3}

    house(body)


def test_a_program_that_does_not_exist_is_tried_again_too(house: Callable[..., None]) -> None:
    async def body(home: House) -> None:
        home.supervisor.start(Spec("one", ("/nonexistent/program",)))
        await home.until(lambda: home.kinds("one").count("died") == 2)
        assert "failed" in home.kinds("one")

    house(body)


def test_waves_stop_one_after_the_other(house: Callable[..., None]) -> None:
    # A worker that takes its time: the store must still be there when it is done.
    slow = (
        "import os, signal, sys, time\n"
        "def stop(*_):\n"
        "    time.sleep(0.3)\n"
        "    os.kill(int(os.environ['STORE']), 0)\n"
        "    print('the store was there', flush=True)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('here', flush=True)\n"
        "time.sleep(600)\n"
    )

    async def body(home: House) -> None:
        home.start("store", SLEEP, wave=1)
        await home.says("store")
        home.start("worker", slow, STORE=str(home.pid("store")))
        await home.says("worker")
        await home.supervisor.stop()
        assert ("worker", "the store was there") in home.lines
        assert [process for kind, process, _ in home.told if kind == "stopped"] == ["worker", "store"]
        assert not list(home.run_dir.glob("*.pid"))

    house(body)


def test_what_does_not_stop_in_time_is_killed(house: Callable[..., None]) -> None:
    async def body(home: House) -> None:
        home.start("one", STUBBORN)
        await home.says("one")
        await home.supervisor.stop()
        assert home.kinds("one") == ["started", "killed", "stopped"]

    house(body, grace_s=0.2)


def test_hurry_kills_at_once(house: Callable[..., None]) -> None:
    async def body(home: House) -> None:
        home.start("one", STUBBORN)
        await home.says("one")
        stopping = asyncio.create_task(home.supervisor.stop())
        await asyncio.sleep(0)
        home.supervisor.hurry()
        async with asyncio.timeout(10):
            await stopping
        assert "killed" in home.kinds("one")

    house(body, grace_s=600)


def test_a_paused_process_is_woken_to_be_stopped(house: Callable[..., None]) -> None:
    async def body(home: House) -> None:
        home.start("one", SLEEP)
        await home.says("one")
        process = psutil.Process(home.pid("one"))
        process.suspend()
        await home.until(lambda: process.status() == psutil.STATUS_STOPPED)
        async with asyncio.timeout(10):
            await home.supervisor.stop()
        assert home.kinds("one") == ["started", "stopped"]

    house(body, grace_s=600)


def test_a_process_that_waits_for_its_restart_does_not_hold_up_the_stop(house: Callable[..., None]) -> None:
    async def body(home: House) -> None:
        home.start("one", "raise SystemExit(1)")
        await home.until(lambda: home.kinds("one").count("died") == 3)
        async with asyncio.timeout(0.9):  # it waits for 1 s
            await home.supervisor.stop()

    house(body)


def test_lines_stay_whole_and_long_ones_are_cut(house: Callable[..., None]) -> None:
    long = MAX_LINE_BYTES * 3

    async def body(home: House) -> None:
        code = f"import os; print('x' * {long}); print('half', end='', flush=True); print(' a line', flush=True); "
        code += "os.write(1, b'\\xff no newline')"
        assert await home.supervisor.run_once(Spec("one", (sys.executable, "-S", "-c", code))) == 0
        text = [line for _, line in home.lines]
        assert text[-2:] == ["half a line", "\N{REPLACEMENT CHARACTER} no newline"]
        assert sum(len(line) for line in text[:-2]) == long
        assert len(text) > 3

    house(body)


def test_a_grandchild_that_holds_the_pipe_open_does_not_delay_the_restart(house: Callable[..., None]) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "os._exit(1)\n"
    )

    async def body(home: House) -> None:
        home.start("one", code)
        await home.until(lambda: home.kinds("one")[:3] == ["started", "died", "restarted"])

    def kill_grandchildren(home: House) -> None:
        for _, line in home.lines:
            if line.isdigit():
                os.kill(int(line), signal.SIGKILL)

    async def both(home: House) -> None:
        try:
            await body(home)
        finally:
            home.supervisor.hurry()
            await home.supervisor.stop()
            kill_grandchildren(home)

    house(both)


def test_run_once_says_how_it_ended(house: Callable[..., None]) -> None:
    async def body(home: House) -> None:
        assert await home.supervisor.run_once(Spec("once", (sys.executable, "-S", "-c", "raise SystemExit(7)"))) == 7
        assert await home.supervisor.run_once(Spec("never", ("/nonexistent",))) == 127
        assert home.supervisor.children == {}

    house(body)


def test_stop_ends_what_runs_once(house: Callable[..., None]) -> None:
    async def body(home: House) -> None:
        once = asyncio.create_task(home.supervisor.run_once(Spec("once", (sys.executable, "-S", "-c", SLEEP))))
        await home.says("once")
        await home.supervisor.stop()
        async with asyncio.timeout(10):
            assert await once == -signal.SIGTERM

    house(body)
