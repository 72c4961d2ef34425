"""One child that speaks (`speaker_child.py`), as its parent sees it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from workers.voice.frames import Died, Frames, Silent

SAMPLE_BYTES = 2
START_S = 60.0  # a neural voice on a busy machine takes a few
SILENCE_S = 30.0  # within a sentence; then the child is stuck
STOP_S = 5.0  # from a stop to its end: a neural voice first comes to the end of its sentence
_CHILD = Path(__file__).with_name("speaker_child.py")


@dataclass(frozen=True, slots=True)
class Ready:
    sample_rate: int
    voices: tuple[str, ...]


class SpeakerProcess:
    """For one thread, except for `stop` and `kill`. It ends when its input does, so with us, whatever happens to us."""

    def __init__(self, arguments: Sequence[str], silence_s: float = SILENCE_S) -> None:
        self._command = [sys.executable, "-I", str(_CHILD), *arguments]
        self._silence_s = silence_s
        self._lock = threading.Lock()  # of the child's input, and of whether there is a child
        self._child: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def start(self) -> Ready:
        """Raises Died: it cannot be started."""
        with self._lock:
            if self._is_closed:
                raise Died
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},  # nothing of ours: no keys, no addresses
            )
            assert self._child.stdout is not None
            self._frames = Frames(self._child.stdout.fileno())
        try:
            kind, content = self._frames.next(START_S)
            said = orjson.loads(content) if kind == "r" else {}
            return Ready(said["sample_rate"], tuple(said["voices"]))
        except (Died, Silent, KeyError, ValueError):
            self._end()
            raise Died from None

    def warm(self) -> None:
        """Where it has died, have another ready before somebody waits for it."""
        if self._child is None:
            with suppress(Died, OSError):  # the next text says so
                self.start()

    def speak(self, request: dict[str, Any], put: Callable[[bytes], None], is_wanted: Callable[[], bool]) -> str | None:
        """Until all was said, or until a stop was heard. Returns the problem it told. Raises Died; the next call starts
        another."""
        if self._child is None:
            self.start()
        try:
            self._send(request)
            if not is_wanted():  # the stop may have come before the request
                self.stop()
            while True:
                kind, content = self._next(is_wanted)
                if kind == "e":
                    problem: str | None = orjson.loads(content)["problem"]
                    return problem
                if len(content) % SAMPLE_BYTES:
                    raise Died
                put(content)
        except (Died, Silent, OSError, KeyError, ValueError):
            self._end()
            raise Died from None

    def _next(self, is_wanted: Callable[[], bool]) -> tuple[str, bytes]:
        """Raises Died, Silent."""
        waited_s, step_s = 0.0, min(1.0, self._silence_s)
        while True:
            try:
                return self._frames.next(step_s)
            except Silent:
                waited_s += step_s
                if waited_s >= (self._silence_s if is_wanted() else min(STOP_S, self._silence_s)):
                    raise

    def stop(self) -> None:
        """What is being said is not wanted any more. From any thread; of no effect when it has been said."""
        with suppress(OSError):  # it died meanwhile
            self._send({})

    def _send(self, message: dict[str, Any]) -> None:
        told = orjson.dumps(message)
        with self._lock:
            if self._child is None or self._child.stdin is None:
                raise BrokenPipeError
            left = memoryview(struct.pack(">I", len(told)) + told)
            while left:
                left = left[os.write(self._child.stdin.fileno(), left) :]

    def kill(self) -> None:
        """For good."""
        with self._lock:
            self._is_closed = True
            if self._child is not None:
                self._child.kill()

    def _end(self) -> None:
        """This child, in the thread that reads from it."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def close(self) -> None:
        """When its thread is done."""
        self.kill()
        self._end()
