"""What has come of a file so far, on disk beside where the file will lie, with a note of which file it is.

name.part, name.part.json
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from config.errors import Unavailable
from workers.hub.choice import HubFile


class Part:
    def __init__(self, folder: Path, repo: str, file: HubFile) -> None:
        self.whole = folder / file.saved_as
        self.path = folder / f"{file.saved_as}.part"
        self._total = file.size
        self.etag = ""  # the server's word for these very bytes, where it gave one
        self._note = folder / f"{file.saved_as}.part.json"
        self._of = {"repo": repo, "path": file.path, "bytes": file.size, "hash": file.sha256 or file.git_id}

    @property
    def size(self) -> int:
        """Bytes that need not come again."""
        size = self.path.stat().st_size if self.path.exists() and self._is_noted() else 0
        return size if size <= self._total else 0

    def _is_noted(self) -> bool:
        try:
            told = json.loads(self._note.read_text("utf-8"))
            self.etag = str(told.pop("etag"))
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return False
        return bool(told == self._of)

    def note(self, etag: str = "") -> None:
        self.etag = "" if etag.startswith("W/") else etag  # a weak one says nothing about bytes
        write_json(self._note, {**self._of, "etag": self.etag})

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Nobody else writes it meanwhile, also no attempt that lost its lease and does not know it yet."""
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable("Another pull of this file has not ended yet.") from None
            yield file

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        self.path.replace(self.whole)
        self._note.unlink(missing_ok=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(value), "utf-8")
    fresh.replace(path)
