"""The whole importer: files and zips in, items out."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.exports import chatgpt_conversation, chatgpt_json, chatgpt_tree, chatgpt_zip, write_big_export, zip_of
from workers.importers.chatgpt import ChatGPTImporter
from workers.importers.ports import ImportedConversation, Importer, ImportFailure, ImportItem

IMPORTER: Importer = ChatGPTImporter()
CONVERSATIONS = [chatgpt_conversation(f"c{n}", f"Number {n}") for n in range(5)]


def read(data: bytes, start: int = 0) -> list[ImportItem]:
    return list(IMPORTER.read(io.BytesIO(data), start))


def ids(items: list[ImportItem]) -> list[str | None]:
    return [item.found.native_id for item in items if isinstance(item.found, ImportedConversation)]


def reasons(items: list[ImportItem]) -> list[str]:
    return [item.found.reason for item in items if isinstance(item.found, ImportFailure)]


def recognised(data: bytes, name: str = "conversations.json") -> bool:
    return IMPORTER.recognise(io.BytesIO(data), name)


ALL = ["c0", "c1", "c2", "c3", "c4"]
INSIDE = {
    "one/conversations.json": chatgpt_json(CONVERSATIONS[:2]),
    "two/conversations.json": chatgpt_json(CONVERSATIONS[2:]),
}


@pytest.mark.parametrize(
    "data",
    [
        chatgpt_json(CONVERSATIONS),
        chatgpt_json(CONVERSATIONS).decode().encode("utf-8-sig"),
        chatgpt_json(CONVERSATIONS).decode().encode("utf-16"),
        json.dumps(CONVERSATIONS, indent=2).replace("\n", "\r\n").encode(),
        json.dumps({"conversations": CONVERSATIONS}).encode(),
        b"\n".join(json.dumps(conversation).encode() for conversation in CONVERSATIONS),
        chatgpt_zip(CONVERSATIONS),
        chatgpt_zip(CONVERSATIONS, shards=3),
        chatgpt_zip(CONVERSATIONS, shards=3, manifest=False),
        chatgpt_zip([], extra=INSIDE),
        zip_of({"export//conversations (1).json": chatgpt_json(CONVERSATIONS)}),
    ],
)
def test_every_form_of_the_export(data: bytes) -> None:
    assert recognised(data, "whatever")
    items = read(data)
    assert ids(items) == ALL
    assert not reasons(items)
    assert [item.index for item in items] == [0, 1, 2, 3, 4]
    done = [item.bytes_done for item in items]
    assert done == sorted(done)
    assert {item.bytes_total for item in items} == {items[0].bytes_total}
    assert done[-1] <= items[0].bytes_total


def test_shards_are_read_in_the_order_of_their_numbers() -> None:
    shards = {f"conversations-{n}.json": chatgpt_json([chatgpt_conversation(f"c{n}")]) for n in (10, 9, 2)}
    assert ids(read(zip_of(shards))) == ["c2", "c9", "c10"]


def test_reading_goes_on_from_an_index() -> None:
    damaged = chatgpt_json(CONVERSATIONS).replace(b'"c2"', b'"c2" oops')
    for data in (damaged, chatgpt_zip(CONVERSATIONS, shards=2), chatgpt_zip([], extra={"a.zip": b"x"} | INSIDE)):
        everything = read(data)
        for start in range(len(everything) + 2):
            assert read(data, start) == everything[start:]


def test_a_shard_that_is_missing() -> None:
    manifest = {"logical_files": {"conversations.json": {"files": ["conversations-000.json", {"name": "./gone.json"}]}}}
    files = {
        "x/conversations-000.json": chatgpt_json(CONVERSATIONS),
        "x/export_manifest.json": json.dumps(manifest).encode(),
    }
    items = read(zip_of(files))
    assert reasons(items) == ["x/gone.json is missing from the zip, though export_manifest.json lists it"]
    assert ids(items) == ALL


def test_a_manifest_may_name_its_shards_as_it_likes() -> None:
    manifest = {"logical_files": {"conversations.json": {"files": ["part-a.json"]}}}
    files = {"part-a.json": chatgpt_json(CONVERSATIONS), "export_manifest.json": json.dumps(manifest).encode()}
    assert ids(read(zip_of(files))) == ALL


@pytest.mark.parametrize("manifest", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_a_broken_manifest_is_reported(manifest: bytes) -> None:
    items = read(chatgpt_zip(CONVERSATIONS, extra={"export_manifest.json": manifest}))
    assert ids(items) == ALL
    assert reasons(items) == ["export_manifest.json cannot be read; whether the export is complete is unknown"]


@pytest.mark.parametrize(
    "manifest", [b"[]", b"{}", b"null", b'{"logical_files": {"conversations.json": {"files": null}}}']
)
def test_a_manifest_that_says_nothing(manifest: bytes) -> None:
    assert not reasons(read(chatgpt_zip(CONVERSATIONS, extra={"export_manifest.json": manifest})))


def test_what_is_not_read_is_reported() -> None:
    extra = {"group_chats.json": b"[" + b" " * 100 + b"]", "inner.zip": b"PK", "file-abc-mine.zip": b"PK"}
    assert reasons(read(chatgpt_zip(CONVERSATIONS, extra=extra))) == [
        "group_chats.json holds group chats, which are not read yet",
        "inner.zip is a zip inside the zip; upload it by itself to read it",
    ]


def test_one_damaged_entry_does_not_hide_the_others() -> None:
    data = bytearray(zip_of(INSIDE))
    at = data.index(b"one/conversations.json") + 60
    data[at : at + 20] = b"\0" * 20
    items = read(bytes(data))
    assert ids(items)[-3:] == ALL[2:]
    assert reasons(items)
    assert recognised(bytes(data))


def test_a_cut_file_gives_what_came_before() -> None:
    data = chatgpt_json(CONVERSATIONS)
    items = read(data[: data.index(b'"Number 3"') + 50])
    assert ids(items) == ALL[:3]
    assert reasons(items) == ["the file ends in the middle of conversation 4"]
    assert isinstance(items[-1].found, ImportFailure)
    assert items[-1].found.title == "Number 3"


def test_what_is_no_conversation_is_reported_where_it_stands() -> None:
    items = read(chatgpt_json([CONVERSATIONS[0], None, {"id": "x"}, CONVERSATIONS[1]]))
    assert [type(item.found) for item in items] == [
        ImportedConversation,
        ImportFailure,
        ImportFailure,
        ImportedConversation,
    ]


def test_the_same_conversation_twice_is_two_items() -> None:
    later = chatgpt_conversation("c0", "Renamed", update_time=2e9)
    assert ids(read(chatgpt_zip([CONVERSATIONS[0], later], shards=2))) == ["c0", "c0"]


def test_lone_surrogates_and_nul_reach_nobody() -> None:
    data = chatgpt_json([chatgpt_conversation("c", "T\0itle \ud800", [("user", "a\0b \ud83d \ud83d\ude42")])])
    found = read(data)[0].found
    assert isinstance(found, ImportedConversation)
    assert (found.title, found.messages[0].content) == ("Title \ufffd", "ab \ufffd 🙂")


def test_many_tiny_conversations() -> None:
    data = b"[" + b",".join([chatgpt_json(CONVERSATIONS[:1])[1:-1]] * 10_000) + b"]"
    assert sum(1 for _ in IMPORTER.read(io.BytesIO(data))) == 10_000


DEEPSEEK = {"id": "d", "title": "D", "inserted_at": "2025-01-01", "mapping": {"1": {"message": {"fragments": []}}}}
CLAUDE = {"uuid": "u", "name": "N", "chat_messages": []}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"conversations": []}',
        b"[1, 2]",
        b"<html>",
        b"PK\x03\x04 not really",
        chatgpt_json([CLAUDE]),
        chatgpt_json([DEEPSEEK]),
        chatgpt_json([{"id": "d", "title": "empty", "mapping": {}}, DEEPSEEK]),
        chatgpt_zip([DEEPSEEK]),
        zip_of({"chat.html": b"<html>"}),
    ],
)
def test_what_is_not_chatgpts(data: bytes) -> None:
    assert not recognised(data)


@pytest.mark.parametrize(
    "before",
    [None, {"id": "x"}, {"id": "x", "mapping": None}, {"id": "x", "mapping": {"n": None}}, {"id": "x", "mapping": {}}],
)
def test_recognised_by_the_first_conversation_that_tells(before: Any) -> None:
    assert recognised(chatgpt_json([before, CONVERSATIONS[0]]))


def test_an_export_of_only_empty_conversations_is_recognised() -> None:
    assert recognised(chatgpt_json([chatgpt_tree("c", {})]))


def test_recognising_reads_only_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    write_big_export(path, 5)
    with path.open("rb", buffering=0) as file:
        assert IMPORTER.recognise(file, path.name)
        assert file.tell() < 2_000_000


def test_memory_stays_flat_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    count = write_big_export(path, 30)
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            assert sum(1 for _ in IMPORTER.read(file)) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20
