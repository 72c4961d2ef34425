"""One answer of the hub, read in a thread of its own: whoever takes from it can leave while nothing comes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Self

import httpx

_POLL_S = 0.1
_AHEAD = 64  # blocks of some 64 KiB that may wait for the disk


class Cut(Exception):
    """The connection ended before the file did; the words say how."""


class Stream:
    """Iterates over blocks as they come. `check` is asked at least every 0.1 s and may raise. Raises Cut."""

    def __init__(self, client: httpx.Client, url: str, headers: dict[str, str], check: Callable[[], None]) -> None:
        self._client, self._url, self._asked = client, url, headers
        self._check = check
        self._items: queue.Queue[httpx.Response | bytes | Exception | None] = queue.Queue(_AHEAD)
        self._left = threading.Event()
        self.status = 0
        self.headers = httpx.Headers()

    def __enter__(self) -> Self:
        threading.Thread(target=self._read, name="pull", daemon=True).start()
        try:
            head = self._take()
        except BaseException:
            self._left.set()
            raise
        assert isinstance(head, httpx.Response)
        self.status, self.headers = head.status_code, head.headers
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def __iter__(self) -> Iterator[bytes]:
        while isinstance(item := self._take(), bytes):
            yield item

    def _take(self) -> httpx.Response | bytes | None:
        while True:
            self._check()
            try:
                item = self._items.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, httpx.HTTPError | httpx.InvalidURL):
                raise Cut(f"{type(item).__name__}.") from item
            if isinstance(item, Exception):
                raise item
            return item

    def _read(self) -> None:
        try:
            with self._client.stream("GET", self._url, headers=self._asked) as response:
                self._put(response)
                if response.is_success:
                    for block in response.iter_raw():
                        if not self._put(block):
                            return
            self._put(None)
        except Exception as error:
            self._put(error)

    def _put(self, item: httpx.Response | bytes | Exception | None) -> bool:
        """False when nobody takes any more."""
        while not self._left.is_set():
            try:
                self._items.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False
