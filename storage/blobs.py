"""Uploaded bytes on disk, named by their SHA-256: the same file twice is one file."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Protocol

from config.errors import NotFound, TooLarge, Unusable
from config.settings import MIB, get_settings
from storage.ids import new_id

_DIGEST = re.compile(r"[0-9a-f]{64}")


def _root() -> Path:
    return get_settings().data_dir / "blobs"


def path(digest: str) -> Path:
    """Raises NotFound. Only a digest names a blob, so no caller's text reaches the file system."""
    if not _DIGEST.fullmatch(digest):
        raise NotFound("There is no such file.")
    found = _root() / digest[:2] / digest
    if not found.is_file():
        raise NotFound("The uploaded file is no longer there.")
    return found


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def store(source: Readable, limit_bytes: int, expected: str | None = None) -> tuple[str, int]:
    """Copy a stream to disk; returns (digest, bytes). Raises TooLarge, or Unusable where the digest is not the
    `expected` one, and keeps nothing."""
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f"incoming-{new_id()}"
    digest, size = hashlib.sha256(), 0
    try:
        with temporary.open("wb") as target:
            while block := source.read(MIB):
                size += len(block)
                if size > limit_bytes:
                    raise TooLarge(f"The file is larger than {limit_bytes // MIB} MiB.")
                digest.update(block)
                target.write(block)
            target.flush()
            os.fsync(target.fileno())
        name = digest.hexdigest()
        if expected is not None and name != expected:
            raise Unusable("The file is not the one that its digest names.")
        final = root / name[:2] / name
        final.parent.mkdir(exist_ok=True)
        temporary.replace(final)
        return name, size
    finally:
        temporary.unlink(missing_ok=True)


def purge(keep: set[str], older_than_s: float, now_s: float) -> int:
    """Remove blobs that no job needs and that are older than `older_than_s`. Returns how many."""
    removed = 0
    for file in _root().glob("**/*"):
        if file.is_file() and file.name not in keep and now_s - file.stat().st_mtime > older_than_s:
            file.unlink(missing_ok=True)
            removed += 1
    return removed
