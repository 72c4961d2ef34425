"""`backchannel up`: start everything that is not given from outside, and keep it running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

import click

from cli.claim import check_parts, claimed, end_leftovers
from cli.combined_log import CombinedLog
from cli.flower import login
from cli.health import Answer, Prober, Watch, address
from cli.processes import PROCESSES, Process, wanted
from cli.run import SUPERVISOR
from cli.supervisor import Spec, Supervisor
from config.settings import Settings, get_settings

STARTING_POLL_S = 0.2
RESTART_POLL_S = 0.5
WATCH_POLL_S = 5.0
HINT_FIRST_S, HINT_MAX_S = 5.0, 60.0


@click.command("up", help="Run everything and keep it running, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per event and log line.")
def command(as_json: bool) -> None:
    settings = get_settings()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    with claimed(settings):
        log = CombinedLog(sys.stdout, as_json=as_json, names=list(PROCESSES))
        try:
            end_leftovers(settings.run_dir, lambda text: log.event("leftovers", None, text))
            check_parts(settings)
            code = asyncio.run(House(settings, log, as_json=as_json).run())
        finally:
            log.close()
    sys.exit(code)


class House:
    """The supervisor's errands: in which order things start, when all is ready, who is hung."""

    def __init__(self, settings: Settings, log: CombinedLog, *, as_json: bool = False) -> None:
        self._settings = settings
        self._log = log
        self._started_at = time.monotonic()
        self._processes = wanted(settings)
        self._prober = Prober(settings)
        self._watch = Watch()
        self._supervisor = Supervisor(settings.run_dir, log.event, self._line)
        self._stop = asyncio.Event()
        self._hint_gap_s = HINT_FIRST_S
        self._hint_due = self._started_at + HINT_FIRST_S
        log_format = "json" if as_json or settings.log_format == "json" else "console"
        self._env = {SUPERVISOR: str(os.getpid()), "LOG_FORMAT": log_format, "PYTHONUNBUFFERED": "1"}

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        try:
            if not await self._open():
                return 0 if self._stop.is_set() else 1
            await self._mind()
            return 0
        finally:
            await self._supervisor.stop()
            took = time.monotonic() - self._started_at
            self._log.event("end", None, "everything has stopped", uptime_s=round(took, 1))

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._log.event("hurrying", None, "killing what still runs")
            self._supervisor.hurry()
        else:
            text = "stopping: running work ends at its next step (up to 30 s); once more to hurry"
            self._log.event("stopping", None, text)
            self._stop.set()

    # --- opening ------------------------------------------------------------------------------------------------------

    async def _open(self) -> bool:
        """Stores first, then the schema, then everything else at once. False when it ends here."""
        self._log.event("starting", None, f"starting, with DATA_DIR {self._settings.data_dir}")
        for process in self._processes:
            if process.stop_wave:
                self._start(process)
        upgrade = Spec("database", (*PROCESSES["web"].argv[:-2], "db", "upgrade", "--quiet"), self._env)
        migrated, answered = await asyncio.gather(self._supervisor.run_once(upgrade), self._redis_answers())
        if migrated != 0 or not answered:
            return False
        for process in self._processes:
            if not process.stop_wave:
                self._start(process)
        return True

    def _start(self, process: Process) -> None:
        self._supervisor.start(Spec(process.name, process.argv, self._env, process.stop_wave))

    async def _redis_answers(self) -> bool:
        """Waits as long as it takes: a long append-only file is read for minutes."""
        while not self._stop.is_set():
            answer = await asyncio.to_thread(self._prober.redis)
            if answer is Answer.YES:
                return True
            self._hint({"redis": answer})
            await self._pause(STARTING_POLL_S)
        return False

    # --- minding ------------------------------------------------------------------------------------------------------

    async def _mind(self) -> None:
        opened = False
        while not self._stop.is_set():
            pids = {name: child.pid for name, child in self._supervisor.children.items() if child.pid is not None}
            answers = await asyncio.to_thread(self._prober.ask, self._processes, pids)
            for name, answer in answers.items():
                if name in pids and self._supervisor.children[name].pid == pids[name]:
                    self._judge(name, pids[name], answer)
            waiting = {name: answer for name, answer in answers.items() if answer is not Answer.YES}
            if waiting:
                self._hint(waiting)
            else:
                self._hint_gap_s = HINT_FIRST_S
                self._hint_due = time.monotonic() + HINT_FIRST_S
                if not opened:
                    opened = True
                    self._banner()
            await self._pause(WATCH_POLL_S if not waiting else RESTART_POLL_S if opened else STARTING_POLL_S)

    def _judge(self, name: str, pid: int, answer: Answer) -> None:
        was_new = self._watch.is_new(name, pid)
        silent_s = self._watch.see(name, pid, answer, time.monotonic())
        if silent_s is not None:
            text = f"{name} (pid {pid}) has not answered for {silent_s:.0f} s; killing it to start it again"
            self._log.event("hung", name, text, pid=pid, silent_s=round(silent_s, 1))
            self._supervisor.kill(name)
        elif was_new and answer is Answer.YES:
            self._log.event("ready", name, f"{name} is ready", pid=pid)

    def _hint(self, waiting: Mapping[str, Answer]) -> None:
        now = time.monotonic()
        if now < self._hint_due:
            return
        self._hint_due = now + self._hint_gap_s
        self._hint_gap_s = min(2 * self._hint_gap_s, HINT_MAX_S)
        text = ", ".join(f"{name} ({answer.value})" for name, answer in waiting.items())
        self._log.event("waiting", None, f"waiting for {text}", waiting=sorted(waiting))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), timeout=seconds)

    def _line(self, name: str, text: str) -> None:
        shown = PROCESSES[name].legible(text) if name in PROCESSES else text
        if shown is not None:
            self._log.line(name, shown)

    # --- banner -------------------------------------------------------------------------------------------------------

    def _banner(self) -> None:
        settings = self._settings
        took = time.monotonic() - self._started_at
        web, flower = address(settings.host, settings.port), address(settings.flower_bind, settings.flower_port)
        lines = [
            "",
            f"Backchannel is ready after {took:.1f} s.",
            f"  web     {web}   (the API: {web}/docs)",
            f"  Flower  {flower}{self._flower_login()}",
            f"  data    {settings.data_dir}",
            "Ctrl-C stops everything.",
            "",
        ]
        self._log.event("up", None, "\n".join(lines), url=web, flower=flower, ready_s=round(took, 2), pid=os.getpid())

    def _flower_login(self) -> str:
        credentials = login(self._settings)
        if not credentials:
            return ""
        user, _, password = credentials.partition(":")
        if self._settings.flower_basic_auth:
            return f"   (user {user}, password as in FLOWER_BASIC_AUTH)"
        return f"   (user {user}, password {password})"
