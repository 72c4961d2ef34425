"""How many jobs of one kind a worker does at a time, where that is fewer than it has slots for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Seats:
    def __init__(self, number: Callable[[], int | None], call_next: Callable[[], None]) -> None:
        """`number` None: as many as come. `call_next` is called when a seat is free again and somebody was turned
        away."""
        self._number = number
        self._call_next = call_next
        self._lock = threading.Lock()
        self._taken = 0
        self._turned_away = False

    @contextmanager
    def take(self) -> Iterator[bool]:
        """False when all are taken: whoever asked leaves, and somebody will be called."""
        number = self._number()
        if number is None:
            yield True
            return
        with self._lock:
            seated = self._taken < number
            self._taken += seated
            self._turned_away |= not seated
        try:
            yield seated
        finally:
            if seated and self._leave():
                self._call_next()

    def _leave(self) -> bool:
        with self._lock:
            self._taken -= 1
            return self._turned_away

    def nobody_waits(self) -> None:
        with self._lock:
            self._turned_away = False
