"""The sound of a file that somebody sent (WAV, MP3, M4A, Ogg, WebM, FLAC), a second at a time. It is read by a process
of its own (`audio_child.py`), which a hostile file may fill or crash."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import orjson

from config.errors import Unavailable, Unusable
from workers.voice.frames import Died, Frames, Silent
from workers.voice.ports import HEARING_RATE, Samples

CHILD_MEMORY_BYTES = 1024**3
_LOOK_S = 0.25  # how often a person's cancel is seen
_CHILD = Path(__file__).with_name("audio_child.py")

_KINDS = "WAV, MP3, M4A, Ogg, WebM and FLAC files are heard"
_PROBLEMS = {
    "unknown": f"The file is no sound that can be heard here: {_KINDS}.",
    "silent": "The file holds no sound.",
    "memory": "The file needs too much memory to be heard.",
    "timeout": "The file could not be read in the time it is given.",
}
_DAMAGED = "The file is damaged and cannot be heard."


class AudioFile:
    """To be iterated over once, in pieces of at most a second at HEARING_RATE. Then `seconds` came, and `problem` is a
    sentence, where something is missing."""

    def __init__(
        self, path: Path, *, max_audio_s: float, limit_s: float, check: Callable[[], None] = lambda: None
    ) -> None:
        """`limit_s` to read all of it; how long the listener takes does not count. `check` is called for each piece,
        and about four times a second while none comes; what it raises ends the reading."""
        self._path, self._max_audio_s, self._limit_s, self._check = path, max_audio_s, limit_s, check
        self._samples = 0
        self.problem: str | None = None

    @property
    def seconds(self) -> float:
        return self._samples / HEARING_RATE

    def __iter__(self) -> Iterator[Samples]:
        """Raises Unusable for a file of which nothing can be heard, Unavailable without the package av."""
        if importlib.util.find_spec("av") is None:
            raise Unavailable("The package av, which reads sound files, is not installed: pip install av.")
        limits = [max(1, round(self._max_audio_s)), CHILD_MEMORY_BYTES, int(self._limit_s) + 5]
        with subprocess.Popen(
            [sys.executable, "-I", str(_CHILD), str(self._path), *map(str, limits)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},  # nothing of ours: no keys, no addresses
        ) as child:
            try:
                assert child.stdout is not None
                problem = yield from self._pieces(Frames(child.stdout.fileno()))
            finally:
                child.kill()
        self.problem = self._sentence(problem)
        if not self._samples:
            raise Unusable(self.problem or _PROBLEMS["silent"])

    def _pieces(self, frames: Frames) -> Generator[Samples, None, str | None]:
        try:
            while (found := self._next(frames))[0] == "p":
                piece = np.frombuffer(found[1], "<i2")
                self._samples += len(piece)
                yield piece
            problem: str | None = orjson.loads(found[1])["problem"]
            return problem
        except TimeoutError:
            return "timeout"
        except (Died, ValueError, KeyError):  # of too much memory or time, or of a fault in a decoder
            return "damaged"

    def _next(self, frames: Frames) -> tuple[str, bytes]:
        """Raises TimeoutError, Died."""
        self._check()
        while self._limit_s > 0:
            began = time.monotonic()
            try:
                return frames.next(min(_LOOK_S, self._limit_s))
            except Silent:
                self._check()
            finally:
                self._limit_s -= time.monotonic() - began
        raise TimeoutError

    def _sentence(self, problem: str | None) -> str | None:
        if problem is None:
            return None
        if not self._samples:
            return _PROBLEMS.get(problem, _DAMAGED)
        if problem == "cut":
            return f"Only the first {_in_words(self._max_audio_s)} of the file were heard."
        return f"The file is damaged: {_in_words(self.seconds)} of it were heard."


def _in_words(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
