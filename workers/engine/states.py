"""Slots' caches on disk, one file each, written behind the loop's back.

A file holds what was said in a conversation: the folder is for its owner alone, and `clear` empties it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import struct
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

_HEAD = struct.Struct("<8sQ")  # mark, number of tokens; then the tokens as int32, then the state
_MARK = b"bcstate1"
# States waiting to be written are held in memory; beyond this many a cache is given up instead.
_MAX_WAITING = 2


class States:
    def __init__(self, folder: Path, identity: str) -> None:
        """Keeps what an earlier life wrote for the same `identity` (weights and kind of cache), and nothing else."""
        self._folder = folder / hashlib.sha256(identity.encode()).hexdigest()[:16]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in folder.iterdir():
            if other.is_dir() and other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="cache writer")
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[None]] = {}

    def close(self) -> None:
        self._writer.shutdown()

    def kept(self) -> list[tuple[int, tuple[int, ...]]]:
        """Keys and tokens of what is there, the oldest first. Half-written files are removed."""
        found = []
        for path in sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
            tokens = _tokens(path) if path.suffix == ".state" and path.stem.isdigit() else None
            if tokens is None:
                path.unlink(missing_ok=True)
            else:
                found.append((int(path.stem), tokens))
        return found

    def put(self, key: int, tokens: tuple[int, ...], state: bytes) -> None:
        with self._lock:
            self._waiting[key] = self._writer.submit(self._write, key, tokens, state)

    @property
    def is_busy(self) -> bool:
        return len(self._waiting) >= _MAX_WAITING

    def get(self, key: int) -> bytes | None:
        self._wait(key)
        try:
            data = self._path(key).read_bytes()
        except OSError:
            return None
        mark, count = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (b"", 0)
        return data[_HEAD.size + 4 * count :] if mark == _MARK else None

    def drop(self, key: int) -> None:
        self._wait(key)
        self._path(key).unlink(missing_ok=True)

    def clear(self) -> None:
        """Also of what is still to be written. Any thread but the writer's."""
        with suppress(RuntimeError):  # closed, so all is written
            self._writer.submit(lambda: None).result()
        for path in self._folder.glob("*.state"):
            path.unlink(missing_ok=True)

    def _wait(self, key: int) -> None:
        with self._lock:
            waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.result()

    def _write(self, key: int, tokens: tuple[int, ...], state: bytes) -> None:
        path = self._path(key)
        partial = path.with_suffix(".part")
        try:
            with partial.open("wb") as file:
                file.write(_HEAD.pack(_MARK, len(tokens)))
                file.write(np.asarray(tokens, np.int32).tobytes())
                file.write(state)
            partial.replace(path)
        except OSError as error:  # a full disk costs time, not answers
            log.warning("a conversation's cache was not kept: %s", os.strerror(error.errno or 0))
            partial.unlink(missing_ok=True)
        finally:
            with self._lock:
                self._waiting.pop(key, None)

    def _path(self, key: int) -> Path:
        return self._folder / f"{key}.state"


def _tokens(path: Path) -> tuple[int, ...] | None:
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        mark, count = _HEAD.unpack(head)
        if mark != _MARK or 4 * count > path.stat().st_size:
            return None
        return tuple(np.frombuffer(file.read(4 * count), np.int32).tolist())
