"""One thread that does the computing for all others, the urgent first."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

_URGENT, _BULK, _LAST = range(3)
# However many urgent ones come, something else has its turn after so many times the quiet.
MOST_QUIET = 3


class OneAtATime:
    """Runs functions one after another. Those waiting are taken in the order they came, urgent ones before all others.

    One thread, because every thread that computes with OpenMP brings a team of threads of its own.
    """

    def __init__(self, name: str, *, quiet_s: float = 0.0) -> None:
        """`quiet_s`: so long after an urgent one nothing else is begun, because who asked for it needs the processor to
        go on with it."""
        self._waiting: list[tuple[int, int, Callable[[], None] | None]] = []
        self._changed = threading.Condition()
        self._tickets = itertools.count()
        self._quiet_s = quiet_s
        self._ended = {_URGENT: -math.inf, _BULK: -math.inf}
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def run(self, function: Callable[[], Result], *, urgent: bool = False) -> Result:
        """The function's result, computed on the working thread; what it raises is raised here."""
        if not self._thread.is_alive():
            raise RuntimeError("closed")
        future: Future[Result] = Future()

        def settle() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # belongs to the caller, whatever it is
                future.set_exception(error)

        self._put(_URGENT if urgent else _BULK, settle)
        return future.result()

    def close(self) -> None:
        """Let those waiting finish, then end the thread."""
        self._put(_LAST, None)
        self._thread.join()

    def _put(self, priority: int, task: Callable[[], None] | None) -> None:
        with self._changed:
            heapq.heappush(self._waiting, (priority, next(self._tickets), task))
            self._changed.notify()

    def _take(self) -> tuple[int, Callable[[], None] | None]:
        with self._changed:
            while not self._waiting or (quiet := self._quiet()) > 0:
                self._changed.wait(quiet if self._waiting else None)
            priority, _, task = heapq.heappop(self._waiting)
            return priority, task

    def _quiet(self) -> float:
        """Seconds until the next one may begin."""
        if self._waiting[0][0] != _BULK:
            return 0.0
        until = min(self._ended[_URGENT] + self._quiet_s, self._ended[_BULK] + MOST_QUIET * self._quiet_s)
        return until - time.monotonic()

    def _work(self) -> None:
        while True:
            priority, task = self._take()
            if task is None:
                return
            task()
            self._ended[priority] = time.monotonic()
