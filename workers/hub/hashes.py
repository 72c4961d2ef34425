"""SHA-256, and git's own hash for a file that the hub knows by that alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from workers.hub.choice import HubFile

_READ_BYTES = 1024**2


class Hashes:
    def __init__(self, total: int) -> None:
        """`total` bytes of the whole file; git's hash begins with it."""
        self._total = total
        self.restart()

    def restart(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(b"blob %d\0" % self._total, usedforsecurity=False)

    def add(self, block: bytes) -> None:
        self.size += len(block)
        self._sha256.update(block)
        self._git.update(block)

    def read(self, file: IO[bytes], size: int, check: Callable[[], None]) -> None:
        """Add the next `size` bytes of a file, or what there is of them."""
        end = self.size + size
        while self.size < end and (block := file.read(min(_READ_BYTES, end - self.size))):
            check()
            self.add(block)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def fit(self, file: HubFile) -> bool:
        if self.size != file.size:
            return False
        return self.sha256 == file.sha256 if file.sha256 is not None else self._git.hexdigest() == file.git_id


def hashes_of(path: Path, check: Callable[[], None]) -> Hashes:
    size = path.stat().st_size
    hashes = Hashes(size)
    with path.open("rb") as file:
        hashes.read(file, size, check)
    return hashes
