"""Conversations of very many messages and very long ones, of every source, from the file to the rows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from config.queues import Kind
from storage import blobs, imported, imports
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER, ImportItem
from tasks.base import run_job
from tasks.import_rows import columns
from tests import factories
from tests.exports.huge import EXPORTS, SOURCES, of_texts, write
from workers.importers import gemini, json_stream, llm_rows
from workers.importers.detect import importer_for
from workers.importers.ports import ImportedConversation

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")

Trace = Callable[[FrameType, str, Any], Any]
MANY = 2_000  # messages
LONG = "word " * 800_000  # 4 MB


def import_it(path: Path) -> list[ImportItem]:
    with path.open("rb") as file:
        digest, _ = blobs.store(file, 1_000_000_000)
    job_id = factories.job(Kind.IMPORT, input={"blob": digest, "filename": "upload.bin"})
    run_job(job_id)
    assert factories.load(job_id).status == "succeeded", factories.load(job_id).error
    with reading() as session:
        return imports.page(session, job_id, status=None, limit=100, offset=0)[0]


@pytest.mark.parametrize("source", SOURCES)
def test_many_messages_and_a_long_one(source: str, tmp_path: Path) -> None:
    texts = [f"Message {number}" for number in range(MANY)]
    texts[-1] = LONG
    write(tmp_path / "export", source, [of_texts("conversation", texts)])
    (item,) = import_it(tmp_path / "export")
    assert (item.status, item.messages) == ("created", MANY)
    (row,) = factories.all_conversations()
    shown = factories.shown(row.id)
    assert [text.replace("*", "") for text in shown[:-1]] == texts[:-1]
    assert shown[-1].replace("*", "").strip() == LONG.strip()


def steps_of(run: Callable[[], None]) -> int:
    """How many lines of Python this thread runs, the rounds of loops in one line among them."""
    count = 0

    def tell(frame: FrameType, event: str, argument: object) -> Trace:
        nonlocal count
        count += 1
        return tell

    before = sys.gettrace()
    sys.settrace(tell)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("source", SOURCES)
def test_the_work_grows_as_the_messages_do(source: str, tmp_path: Path) -> None:
    def counted(number: int, name: str) -> int:
        half, whole = (f"Message {at}" for at in range(number // 2)), [f"Message {at}" for at in range(number)]
        for path, texts in ((tmp_path / "half", [*half]), (tmp_path / "whole", whole)):
            write(path, source, [of_texts("conversation", texts)])
        return steps_of(lambda: written(name))

    def written(name: str) -> None:
        for path, expected in ((tmp_path / "half", "created"), (tmp_path / "whole", "updated")):
            with path.open("rb") as file:
                (item,) = importer_for(file, "upload.bin").read(file)
            assert isinstance(item.found, ImportedConversation)
            item.found.native_id = name
            with transaction() as session:
                (done,) = imported.upsert_all(session, LOCAL_OWNER, [columns(item.found)])
            assert done.status == expected

    counted(20, "what is cached")
    number, times = (1200, 2) if "tree" in source else (150, 5)  # nested less deeply, another decoder reads a tree
    few, many = counted(number, "few"), counted(times * number, "many")
    assert many < 1.25 * times * few


@pytest.mark.parametrize("source", EXPORTS)
def test_a_conversation_too_large_to_hold_is_told_and_the_others_are_read(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream.elements, "__defaults__", (1 << 20,))
    monkeypatch.setattr("workers.importers.text_window.CHUNK", 1 << 16)
    monkeypatch.setattr(gemini, "MAX_HELD", 1 << 20)
    monkeypatch.setattr(llm_rows, "MAX_TEXT", 1 << 20)
    small = [of_texts(f"small-{number}", ["Hello?", "Hello."]) for number in range(2)]
    large = of_texts("the-large-one", ["word " * 1000] * 400)
    write(tmp_path / "export", source, [small[0], large, small[1]])
    items = import_it(tmp_path / "export")
    assert [item.status for item in items] == ["created", "failed", "created"]
    assert "1 MiB" in (items[1].reason or "")
    assert "skipped" in (items[1].reason or "")
