"""Taking possession of DATA_DIR: folders, the lock, what an earlier run left behind, the ports."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import psutil

from cli.files import make_private
from cli.launch import is_free
from cli.processes import PROCESSES
from cli.redis_server import MISSING, find_binary
from config.settings import Settings

# Processes that a killed `up` left behind were told to stop when it died; after this they are killed.
LEFTOVER_GRACE_S = 10.0
# A pid file is written right after its process was started; a pid that was given out again since does not fit.
PID_FILE_AGE_S = 5.0


@contextmanager
def claimed(settings: Settings) -> Iterator[None]:
    """DATA_DIR is ours while this lasts. Raises ClickException with one sentence when it cannot be."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private(settings.run_dir)
        lock = os.open(lock_file(settings), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise click.ClickException(f"DATA_DIR {settings.data_dir} cannot be used: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 32, 0).decode().strip()
            raise click.ClickException(
                f"Backchannel is already running on {settings.data_dir} (pid {holder or 'unknown'}); "
                "stop it first, or set another DATA_DIR, PORT and FLOWER_PORT for a second copy."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def lock_file(settings: Settings) -> Path:
    return settings.run_dir / "up.lock"


def is_claimed(settings: Settings) -> bool:
    """Does a `backchannel up` run on this DATA_DIR?"""
    try:
        lock = os.open(lock_file(settings), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def leftovers(run_dir: Path) -> dict[str, psutil.Process]:
    """Processes of an earlier `up` that still live, by name."""
    found = {}
    for name in PROCESSES:
        path = run_dir / f"{name}.pid"
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(path.read_text()))
            ours = abs(path.stat().st_mtime - process.create_time()) < PID_FILE_AGE_S
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found[name] = process
    return found


def end_leftovers(run_dir: Path, say: Callable[[str], None]) -> None:
    """Only one `up` runs per DATA_DIR, so whoever is alive here has lost its own. Redis goes last."""
    found = leftovers(run_dir)
    if not found:
        return
    say(f"ending what a killed run left behind: {', '.join(found)}")
    for wave in sorted({PROCESSES[name].stop_wave for name in found}):
        members = [process for name, process in found.items() if PROCESSES[name].stop_wave == wave]
        for process in members:
            with suppress(psutil.Error):
                process.terminate()
                process.resume()
        _, alive = psutil.wait_procs(members, timeout=LEFTOVER_GRACE_S)
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=LEFTOVER_GRACE_S)


def check_parts(settings: Settings) -> None:
    """Raises ClickException with one sentence when something would hinder the start."""
    if settings.redis_is_private and find_binary() is None:
        raise click.ClickException(MISSING)
    for name, host, port in (
        ("PORT", settings.host, settings.port),
        ("FLOWER_PORT", settings.flower_bind, settings.flower_port),
    ):
        try:
            free = is_free(host, port)
        except OSError as error:
            raise click.ClickException(f"{host} is no address of this machine: {error.strerror}.") from error
        if not free:
            raise click.ClickException(
                f"{name} {port} on {host} is taken by another program; stop that, or set {name} to a free port."
            )
