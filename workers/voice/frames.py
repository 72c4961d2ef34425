"""What our child programs write: frames, each a letter, a length in four bytes (big-endian) and so many bytes."""

from __future__ import annotations

import os
import select
import struct
import time

MAX_BYTES = 64 * 1024**2  # a longer one is none of ours
_BLOCK = 65_536


class Died(Exception):
    """The child is gone, or says what no child of ours would."""


class Silent(Exception):
    """Nothing came in the time that was given."""


class Frames:
    """Of the pipe `fd`, for one thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()  # select() fails on descriptors beyond 1023
        self._poll.register(fd, select.POLLIN)
        self._waiting = bytearray()

    def next(self, wait_s: float) -> tuple[str, bytes]:
        """What has come in part by then stays for the next call. Raises Died, Silent."""
        deadline = time.monotonic() + wait_s
        while (frame := self._whole()) is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not self._poll.poll(left_s * 1000):
                raise Silent
            block = os.read(self._fd, _BLOCK)
            if not block:
                raise Died
            self._waiting += block
        return frame

    def _whole(self) -> tuple[str, bytes] | None:
        if len(self._waiting) < 5:
            return None
        kind, size = struct.unpack_from(">cI", self._waiting)
        if size > MAX_BYTES or not kind.isalpha():
            raise Died
        if len(self._waiting) < 5 + size:
            return None
        content = bytes(self._waiting[5 : 5 + size])
        del self._waiting[: 5 + size]
        return kind.decode(), content
