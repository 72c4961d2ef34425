"""One text on its way from the process that speaks it to whoever listens."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from config.errors import BackchannelError
from workers.voice.ports import Samples
from workers.voice.speaker_process import SAMPLE_BYTES, SpeakerProcess

# Audio that may wait for its listener before the process that speaks it waits, too. Sentences are shorter.
AHEAD_S = 60.0


class Flow:
    """Between the two: one thread of the speaker's and one listener."""

    def __init__(self, request: dict[str, Any], sample_rate: int) -> None:
        self.request = request
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._ahead = 0  # bytes in `_pieces`
        self._limit = int(AHEAD_S * sample_rate) * SAMPLE_BYTES
        self._given = 0  # bytes, over all tries
        self._skip = 0  # bytes of a second try that the first one gave
        self._is_over = False
        self._is_left = False
        self._problem: BackchannelError | None = None
        self._process: SpeakerProcess | None = None

    # --- the listener

    def take(self) -> bytes | None:
        """The next piece; None at the end. Raises the problem, once."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._is_over or self._is_left)
            if self._pieces:
                piece = self._pieces.popleft()
                self._ahead -= len(piece)
                self._changed.notify_all()
                return piece
            problem, self._problem = self._problem, None
            if problem is not None and not self._is_left:
                raise problem
            return None

    def leave(self) -> None:
        with self._changed:
            self._is_left = True
            self._pieces.clear()
            if self._process is not None:
                self._process.stop()
            self._changed.notify_all()

    # --- the speaker

    def begin(self, process: SpeakerProcess) -> bool:
        """Before each try; False when nobody listens any more."""
        with self._changed:
            self._process = process if self.is_wanted() else None
            self._skip = self._given
            return self.is_wanted()

    def is_wanted(self) -> bool:
        return not self._is_left and not self._is_over

    def put(self, piece: bytes) -> None:
        """Waits while much is ahead of the listener."""
        with self._changed:
            piece, self._skip = piece[self._skip :], max(0, self._skip - len(piece))
            self._changed.wait_for(lambda: self._ahead < self._limit or not self.is_wanted())
            if piece and self.is_wanted():
                self._pieces.append(piece)
                self._given += len(piece)
                self._ahead += len(piece)
                self._changed.notify_all()

    def release(self) -> None:
        """After each try: the process is another's from now on."""
        with self._changed:
            self._process = None

    def end(self, problem: BackchannelError | None = None) -> None:
        """The first one counts."""
        with self._changed:
            if not self._is_over:
                self._is_over, self._problem = True, problem
                self._changed.notify_all()


class Speech(Iterator[Samples]):
    """What the listener has of it. Close it, or let go of it, and it is spoken no further."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def __next__(self) -> Samples:
        piece = self._flow.take()
        if piece is None:
            raise StopIteration
        return np.frombuffer(piece, "<i2")

    def close(self) -> None:
        """Harmless twice, and when all was heard."""
        self._flow.leave()

    __del__ = close
