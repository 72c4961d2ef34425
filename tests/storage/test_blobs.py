"""Uploads on disk: named by content, bounded, removed when nobody needs them."""

from __future__ import annotations

import hashlib
import io
import os
import time
from pathlib import Path

import pytest

from config.errors import NotFound, TooLarge
from config.settings import get_settings
from storage import blobs

pytestmark = pytest.mark.usefixtures("settings")


def store(data: bytes, limit: int = 10_000_000) -> str:
    digest, size = blobs.store(io.BytesIO(data), limit)
    assert size == len(data)
    return digest


def kept() -> list[Path]:
    return [file for file in (get_settings().data_dir / "blobs").rglob("*") if file.is_file()]


def test_the_same_file_twice_is_one_file() -> None:
    digest = store(b"an export")
    assert digest == hashlib.sha256(b"an export").hexdigest()
    assert store(b"an export") == digest
    assert store(b"another") != digest
    assert len(kept()) == 2
    assert blobs.path(digest).read_bytes() == b"an export"


def test_files_beyond_the_limit_leave_nothing() -> None:
    with pytest.raises(TooLarge):
        blobs.store(io.BytesIO(bytes(3_000_000)), 2_999_999)
    assert kept() == []
    store(bytes(3_000_000), 3_000_000)


def test_a_stream_that_breaks_leaves_nothing() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        blobs.store(Broken(), 100)
    assert kept() == []


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "a" * 63, "A" * 64, "g" * 64, f"{'a' * 64}\n", "a" * 64]
)
def test_only_a_digest_of_what_is_there_has_a_path(name: str) -> None:
    with pytest.raises(NotFound):
        blobs.path(name)


def test_purge_spares_what_is_needed_or_new() -> None:
    needed, old, new = store(b"needed"), store(b"old"), store(b"new")
    unfinished = get_settings().data_dir / "blobs" / "incoming-x"
    unfinished.write_bytes(b"an upload that was cut off")
    long_ago = time.time() - 100_000
    for file in (blobs.path(needed), blobs.path(old), unfinished):
        os.utime(file, (long_ago, long_ago))
    assert blobs.purge({needed}, older_than_s=3600, now_s=time.time()) == 2
    assert {file.name for file in kept()} == {needed, new}


def test_purge_without_any_uploads() -> None:
    assert blobs.purge(set(), 0, time.time()) == 0
