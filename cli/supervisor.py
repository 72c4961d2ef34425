"""Keeping processes alive: start, watch, start again, stop in order. It knows nothing of what they do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cli.files import write_atomically

# The first death is answered at once; deaths that follow each other wait 0.5 s, doubling to half a minute.
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
# One that lived this long was well: its next death is a first one.
STEADY_S = 60.0
# A line longer than this is cut: somebody prints data, and memory has an end.
MAX_LINE_BYTES = 256 * 1024
# What a dead process still has in its pipe arrives at once; a grandchild that holds the pipe open may never end.
DRAIN_S = 1.0

Tell = Callable[..., None]  # (kind, process, text, **fields)
Line = Callable[[str, str], None]  # (process, line)


def restart_delay(deaths: int) -> float:
    """Seconds to wait after the given number of deaths in a row."""
    return 0.0 if deaths <= 1 else min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(deaths - 2, 10))


def describe_exit(code: int) -> str:
    """An exit status as people say it; negative numbers are signals."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


@dataclass(frozen=True, slots=True)
class Spec:
    """`stop_wave`: lower ones are stopped first; the next wave is stopped when they are gone."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)  # added to our own
    stop_wave: int = 0


@dataclass(slots=True)
class Child:
    spec: Spec
    process: asyncio.subprocess.Process | None = None
    keeper: asyncio.Task[None] | None = None
    started_at: float = 0.0
    output: int = -1  # our end of its pipe
    deaths: int = 0  # in a row
    starts: int = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.returncode is None else None


class Supervisor:
    """All methods belong to one event loop, that of the main thread: a child that asks to be told of its parent's death
    is told of the death of the thread that started it."""

    def __init__(self, run_dir: Path, tell: Tell, line: Line, *, grace_s: float = 30.0) -> None:
        self.children: dict[str, Child] = {}
        self._run_dir = run_dir
        self._tell = tell
        self._line = line
        self._grace_s = grace_s
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    def start(self, spec: Spec) -> None:
        child = self.children[spec.name] = Child(spec)
        child.keeper = asyncio.create_task(self._keep(child), name=spec.name)

    async def run_once(self, spec: Spec) -> int:
        """Run something to its end, its output in the log; its exit status. Ended when `hurry` or `stop` is called."""
        child = self.children[spec.name] = Child(spec)
        try:
            if not await self._spawn(child):
                return 127
            stop = asyncio.create_task(self._stopping.wait())
            end = asyncio.create_task(self._outlive(child))
            await asyncio.wait((stop, end), return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not end.done():
                _signal(child, signal.SIGTERM)
            return await end
        finally:
            del self.children[spec.name]

    def kill(self, name: str) -> None:
        """SIGKILL, for one that does not answer any more; it is started again as after any death."""
        _kill(self.children[name])

    def hurry(self) -> None:
        """Do not wait for the wave that is being stopped."""
        self._hurry.set()

    async def stop(self) -> None:
        """End everything that was started, wave by wave; what does not end within the grace time is killed."""
        self._stopping.set()
        for wave in sorted({child.spec.stop_wave for child in self.children.values()}):
            members = [child for child in self.children.values() if child.spec.stop_wave == wave]
            await self._stop_wave(members)

    async def _stop_wave(self, members: list[Child]) -> None:
        keepers = [child.keeper for child in members if child.keeper is not None]
        if not keepers:
            return
        for child in members:
            _signal(child, signal.SIGTERM)
            _signal(child, signal.SIGCONT)  # a paused one hears nothing
        hurry = asyncio.create_task(self._hurry.wait())
        gone = asyncio.gather(*keepers, return_exceptions=True)
        await asyncio.wait((hurry, gone), timeout=self._grace_s, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        for child in members:
            if child.pid is not None:
                self._tell("killed", child.spec.name, f"{child.spec.name} did not stop in time and was killed")
                _kill(child)
        await gone
        self._hurry.clear()  # the stores get their moment to write; who cannot wait for that says so again

    # --- one child ----------------------------------------------------------------------------------------------------

    async def _keep(self, child: Child) -> None:
        while not self._stopping.is_set():
            code = await self._outlive(child) if await self._spawn(child) else 127
            lived_s = time.monotonic() - child.started_at
            name = child.spec.name
            if self._stopping.is_set():
                how = "" if code in (0, -signal.SIGTERM) else f" ({describe_exit(code)})"
                self._tell("stopped", name, f"{name} stopped{how}", code=code)
                return
            child.deaths = 1 if lived_s >= STEADY_S else child.deaths + 1
            delay = restart_delay(child.deaths)
            when = f"starting it again in {delay:g} s" if delay else "starting it again"
            text = f"{name} died ({describe_exit(code)}) after {lived_s:.1f} s; {when}"
            self._tell("died", name, text, code=code, lived_s=round(lived_s, 3), restart_in_s=delay)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), timeout=delay)

    async def _spawn(self, child: Child) -> bool:
        spec = child.spec
        child.started_at = time.monotonic()
        child.starts += 1
        # A pipe of our own: asyncio's would make the end of the process wait for whoever else holds the pipe open.
        child.output, theirs = os.pipe()
        try:
            # A session of its own: Ctrl-C reaches the whole foreground group, and only we decide who stops when.
            child.process = await asyncio.create_subprocess_exec(
                *spec.argv,
                env={**os.environ, **spec.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
            write_atomically(self._pid_file(spec.name), f"{child.process.pid}\n")
        except OSError as error:
            self._tell("failed", spec.name, f"{spec.name} cannot be started: {error.strerror}")
            os.close(child.output)
            return False
        finally:
            os.close(theirs)
        kind = "started" if child.starts == 1 else "restarted"
        self._tell(kind, spec.name, f"{spec.name} {kind} (pid {child.process.pid})", pid=child.process.pid)
        return True

    async def _outlive(self, child: Child) -> int:
        process = child.process
        assert process is not None
        pump = asyncio.create_task(self._pump(child.spec.name, child.output))
        if self._stopping.is_set():
            _signal(child, signal.SIGTERM)  # stop() came while it was being started
        code = await process.wait()
        await asyncio.wait((pump,), timeout=DRAIN_S)
        pump.cancel()
        self._pid_file(child.spec.name).unlink(missing_ok=True)
        return code

    async def _pump(self, name: str, output: int) -> None:
        stream = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(stream)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(output, "rb"))
        rest = b""
        try:
            while chunk := await stream.read(64 * 1024):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._line(name, _text(line))
                if len(rest) > MAX_LINE_BYTES:
                    self._line(name, _text(rest))
                    rest = b""
        finally:
            if rest:
                self._line(name, _text(rest))
            transport.close()

    def _pid_file(self, name: str) -> Path:
        return self._run_dir / f"{name}.pid"


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace")


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process is not None and child.pid is not None:
        with suppress(ProcessLookupError):
            child.process.send_signal(number)


def _kill(child: Child) -> None:
    """With whatever it started: its session is its own."""
    if child.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
