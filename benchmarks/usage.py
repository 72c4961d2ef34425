"""What a process used: memory at its peak, and processor time."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

_EVERY_S = 0.01


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far. Unlike its rate, hardly touched by who else uses the machine."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


class PeakRss:
    """Samples the resident memory of a process while the block runs. Bytes."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-rss", daemon=True)
        self.before = self.peak = self._process.memory_info().rss

    @property
    def grown(self) -> int:
        return self.peak - self.before

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_EVERY_S):
            try:
                self.peak = max(self.peak, self._process.memory_info().rss)
            except psutil.NoSuchProcess:
                return
