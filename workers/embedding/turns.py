"""One thread that does the computing for all others, the urgent first."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

_URGENT, _BULK, _LAST = range(3)


class OneAtATime:
    """Runs functions one after another. Those waiting are taken in the order they came, urgent ones before all others.

    One thread, because every thread that computes with OpenMP brings a team of threads of its own.
    """

    def __init__(self, name: str) -> None:
        self._waiting: queue.PriorityQueue[tuple[int, int, Callable[[], None] | None]] = queue.PriorityQueue()
        self._tickets = itertools.count()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._waiting.qsize()

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
        self._waiting.put((priority, next(self._tickets), task))

    def _work(self) -> None:
        while (task := self._waiting.get()[2]) is not None:
            task()
