"""The processes Backchannel consists of: one table for `up`, `run`, `doctor` and the Procfile."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from config.queues import WORKERS
from config.settings import Settings

Role = Literal["redis", "chroma", "web", "worker", "beat", "flower"]

# Left out of the combined log: Chroma's picture of itself and its advertisement, Redis' pid and clock.
_CHROMA_NOISE = re.compile(
    r"^[\s(#]*$|^Saving data to:|^Connect to Chroma|^Getting started guide|Chroma Cloud|trychroma|--to-cloud"
)
_REDIS_NOISE = re.compile(r"oO0OoO0OoO0Oo|WARNING Memory overcommit|monotonic clock")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_REDIS_STAMP = re.compile(r"^\d+:(?:[XCSM] \d+ \w+ \d+ [\d:.]+ [.\-*#]|signal-handler \(\d+\)) ")


@dataclass(frozen=True, slots=True)
class Process:
    """`stop_wave`: lower ones are stopped first, and only when they are gone the next; stores go last."""

    name: str
    role: Role
    stop_wave: int = 0
    embedded: Callable[[Settings], bool] = lambda _settings: True
    noise: re.Pattern[str] | None = None
    stamp: re.Pattern[str] | None = None

    def legible(self, line: str) -> str | None:
        """The line as the combined log shows it; None when it says nothing."""
        plain = _ANSI.sub("", line)
        if not plain.strip() or (self.noise is not None and self.noise.search(plain)):
            return None
        return self.stamp.sub("", line) if self.stamp is not None else line

    @property
    def argv(self) -> tuple[str, ...]:
        """What `up` starts: the Procfile's line. -P: a `config` or `api` in the working directory is not ours."""
        return (sys.executable, "-P", "-m", "cli", "run", self.name)


_WANTED: dict[str, Callable[[Settings], bool]] = {"voice": lambda settings: settings.voice_enabled}

_TABLE = (
    Process("redis", "redis", 2, lambda settings: settings.redis_is_private, _REDIS_NOISE, _REDIS_STAMP),
    Process("chroma", "chroma", 1, lambda settings: settings.chroma_is_private, _CHROMA_NOISE),
    Process("web", "web"),
    *(Process(name, "worker", embedded=_WANTED.get(name, lambda _settings: True)) for name in WORKERS),
    Process("beat", "beat"),
    Process("flower", "flower"),
)

PROCESSES: dict[str, Process] = {process.name: process for process in _TABLE}


def wanted(settings: Settings) -> list[Process]:
    """The processes these settings call for: all but the stores given from outside."""
    return [process for process in _TABLE if process.embedded(settings)]
