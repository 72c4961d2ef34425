"""No reader holds more of a file than what it is reading: conversations of every source, and zips of them."""

from __future__ import annotations

import gc
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from tests.exports import Json, some_conversations
from tests.exports.big import FORMATS, write_big
from workers.importers.detect import importer_for
from workers.importers.ports import ImportedConversation

MEGABYTES = 2
LIMIT = 1_200_000  # bytes: a window of the file, one conversation, and what is made of it


@pytest.fixture(scope="module")
def drawn() -> list[Json]:
    return some_conversations(300)


def peak_of_reading(path: Path) -> tuple[int, int]:
    """(conversations, bytes)."""
    count = 0
    with path.open("rb") as file:
        importer = importer_for(file, path.name)
        gc.collect()
        tracemalloc.start()
        try:
            for item in importer.read(file):
                count += isinstance(item.found, ImportedConversation)
            return count, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("source", [*FORMATS, "llm"])
def test_memory_does_not_grow_with_the_file(
    source: str, drawn: list[Json], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.importers.text_window.CHUNK", 1 << 16)
    path = tmp_path / "export"
    written = write_big(path, source, MEGABYTES, conversations=drawn)
    count, peak = peak_of_reading(path)
    assert (count, peak < LIMIT) == (written, True), peak


def test_nor_with_what_a_zip_unpacks_to(drawn: list[Json], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.importers.text_window.CHUNK", 1 << 16)
    monkeypatch.setattr("workers.importers.archive.MAX_DIRECTORY", 1 << 16)
    path, packed = tmp_path / "export", tmp_path / "export.zip"
    written = write_big(path, "chatgpt", MEGABYTES, conversations=drawn)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "conversations.json")
    count, peak = peak_of_reading(packed)
    assert (count, peak < LIMIT) == (written, True), peak
