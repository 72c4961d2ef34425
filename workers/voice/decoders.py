"""Processes that understand speech (`transcriber_child.py`), as their parent sees them: few, shared by all who talk."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from workers.voice.frames import Died, Frames, Silent
from workers.voice.ports import Samples

START_S = 120.0  # large weights from a slow disk
ANSWER_S = 120.0  # of a recogniser on a busy machine; then it is stuck
_CHILD = Path(__file__).with_name("transcriber_child.py")
# What a graphics card's libraries are found by. Nothing else of ours: no keys, no addresses.
_NEEDED = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CUDA_PATH")


class Decoder:
    """One process; for one thread at a time. It ends when its input does, so with us, whatever happens to us."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Until it has loaded. Raises Died."""
        self._child = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HF_HUB_OFFLINE": "1"}
            | {name: os.environ[name] for name in _NEEDED if name in os.environ},
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._input, self._frames = self._child.stdin.fileno(), Frames(self._child.stdout.fileno())
        self._told(START_S)

    @property
    def pid(self) -> int:
        return self._child.pid

    def begin(self, phrases: Sequence[Sequence[str]] = ()) -> list[str]:
        """Another utterance, whatever became of the one before. The words it does not know; then it has not begun.
        Raises Died, as do the others."""
        unknown: list[str] = self._ask(b"b", orjson.dumps({"phrases": phrases})).get("unknown", [])
        return unknown

    def feed(self, samples: Samples) -> str | None:
        text: str | None = self._ask(b"s", samples.astype("<i2", copy=False).tobytes())["text"]
        return text

    def finish(self) -> tuple[str, float]:
        """Text and confidence."""
        told = self._ask(b"f", b"")
        return told["text"], float(told["confidence"])

    def _ask(self, kind: bytes, content: bytes) -> dict[str, Any]:
        try:
            left = memoryview(kind + struct.pack(">I", len(content)) + content)
            while left:
                left = left[os.write(self._input, left) :]
            return self._told(ANSWER_S)
        except OSError:
            self.close()
            raise Died from None
        except BaseException:  # its answer would be taken for another's
            self.close()
            raise

    def _told(self, wait_s: float) -> dict[str, Any]:
        try:
            told: dict[str, Any] = orjson.loads(self._frames.next(wait_s)[1])
            return told
        except (Died, Silent, OSError, ValueError):
            self.close()
            raise Died from None

    def close(self) -> None:
        """For good; harmless twice."""
        self._input = -1  # the number may be another file's afterwards
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


class Decoders:
    """`count` of them, started when they are needed; the first at once. Thread-safe."""

    def __init__(self, arguments: Sequence[str], count: int) -> None:
        """Raises Died."""
        self._arguments = arguments
        self._changed = threading.Condition()
        self._left = count - 1  # that may still be started
        self._is_closed = False
        self._free = [Decoder(arguments)]

    def take(self, wait_s: float | None = None) -> Decoder | None:
        """One that listens to nobody; give it back, or say that it is lost. None where none is free by then. Raises
        Died: none can be started."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._free or self._left, wait_s)
            if self._is_closed:
                raise Died
            if self._free:
                return self._free.pop()
            if not self._left:
                return None
            self._left -= 1
        try:
            return Decoder(self._arguments)
        except BaseException:
            self.lost()
            raise

    def give_back(self, decoder: Decoder) -> None:
        with self._changed:
            if not self._is_closed:
                self._free.append(decoder)
                self._changed.notify()
                return
        decoder.close()

    def lost(self) -> None:
        """One that was taken has died: another may be started."""
        with self._changed:
            self._left += 1
            self._changed.notify()

    def close(self) -> None:
        """Those that listen end when they are given back."""
        with self._changed:
            self._is_closed = True
            free, self._free = self._free, []
            self._changed.notify_all()
        for decoder in free:
            decoder.close()
