"""Reads a provider's stream in a thread of its own: whoever takes from it can leave while the provider is silent."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Self

from workers.ports import Completion, Delta

log = logging.getLogger(__name__)

Item = Delta | Completion
Opened = AbstractContextManager[Iterator[Item]]


class Reader:
    """`open_stream` is called, entered, read and left in the reading thread; who leaves before the end leaves it too,
    from another thread, which wakes the reading one. `understood` puts its errors into our words."""

    def __init__(
        self, name: str, open_stream: Callable[[], Opened], understood: Callable[[Exception], Exception]
    ) -> None:
        self._name, self._open_stream, self._understood = name, open_stream, understood
        self._items: queue.SimpleQueue[Item | Exception | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._has_left = False
        self._opened: Opened | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._read, name=f"read {self._name}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._has_left = True
            opened, self._opened = self._opened, None
        if opened is not None:
            try:
                opened.__exit__(None, None, None)
            except Exception as error:  # one that cannot be left while it is read ends at its next item
                log.debug("leaving a stream: %s", type(error).__name__)

    def take(self, timeout_s: float) -> Item | None:
        """The next item, None at an end without a Completion. Raises queue.Empty, or what `understood` made of an
        error."""
        item = self._items.get(timeout=timeout_s)
        if isinstance(item, Exception):
            raise item
        return item

    def _read(self) -> None:
        try:
            opened = self._open_stream()
            with self._lock:
                if self._has_left:
                    return
                self._opened = opened
            self._read_all(opened)
        except Exception as error:
            self._items.put(self._in_words(error))

    def _in_words(self, error: Exception) -> Exception:
        try:
            return self._understood(error)
        except Exception as worse:  # whoever waits must hear of it
            return worse

    def _read_all(self, opened: Opened) -> None:
        """The Completion is told last of all: whoever asks again then finds the connection free."""
        ended: Completion | None = None
        with opened as items:
            try:
                for item in items:
                    if self._has_left:
                        return
                    if isinstance(item, Completion):
                        ended = item
                    else:
                        self._items.put(item)
            except Exception:
                if ended is None:
                    raise  # else all was said
            finally:
                with self._lock:
                    self._opened = None  # from here on this thread leaves it
        self._items.put(ended)
