from __future__ import annotations

import io
import json

import pytest

from config.errors import UnreadableImport
from tests.exports import chatgpt_conversation, chatgpt_json, chatgpt_zip, encrypted_zip, zip_of
from workers.importers.detect import ACCEPTED, importer_for

EXPORT = chatgpt_json([chatgpt_conversation("c")])
CLAUDE = json.dumps([{"uuid": "u", "name": "N", "chat_messages": []}]).encode()
DEEPSEEK = json.dumps([{"id": "d", "mapping": {"1": {"message": {"fragments": []}}}}]).encode()


@pytest.mark.parametrize("data", [EXPORT, chatgpt_zip([chatgpt_conversation("c")])])
def test_finds_the_importer_by_content(data: bytes) -> None:
    assert importer_for(io.BytesIO(data), "photo.png").source == "chatgpt"


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("a.json", b"", "The file is empty."),
        ("a.json", b"[]", "it holds no conversations"),
        ("a.json", b"{}", "JSON, but not ChatGPT conversations"),
        ("a.json", b'{"conversations": []}', "it holds no conversations"),
        ("a.json", b"[1]", "JSON, but not ChatGPT conversations"),
        ("a.json", b"hello", "cannot be read: the file does not hold JSON"),
        ("a.json", EXPORT[:300], "the file ends in the middle of conversation 1"),
        ("a.json", b"\xef\xbb\xbf <!doctype html>", "web page (HTML)"),
        ("chat.html", b"<html>", "web page (HTML)"),
        ("logs.db", b"SQLite format 3\0...", "an SQLite database"),
        ("a.json.gz", b"\x1f\x8b\x08", "gzip"),
        ("a.zip", b"this was a zip", "called .zip but is none"),
        ("a.zip", b"PK\x03\x04 this was a zip", "cut short"),
        ("a.zip", zip_of({}), "The zip is empty."),
        ("a.zip", zip_of({"chat.html": b"<html>"}), "holds no conversations.json"),
        ("a.zip", zip_of({"user.json": b"{}"}), "holds JSON, but no ChatGPT conversations"),
        ("a.zip", zip_of({"export.zip": b"PK"}), "holds another zip (“export.zip”)"),
        ("a.zip", encrypted_zip({"conversations.json": EXPORT}), "encrypted"),
        (
            "a.zip",
            zip_of({"conversations.json": EXPORT[:300]}),
            "“conversations.json” in the zip cannot be read: the file ends in",
        ),
        ("a.zip", zip_of({"conversations.json": b"[]"}), "“conversations.json” in the zip is an empty list"),
        ("conversations.json", CLAUDE, "looks like a Claude export"),
        ("conversations.json", DEEPSEEK, "looks like a DeepSeek export"),
        ("a.zip", zip_of({"users.json": b"[]", "conversations.json": CLAUDE}), "looks like a Claude export"),
        ("a.zip", zip_of({"conversations.json": DEEPSEEK}), "looks like a DeepSeek export"),
        (
            "a.zip",
            zip_of({"ttl/30d//prod-grok-backend.json": b'{"conversations": [{"conversation": {}, "responses": []}]}'}),
            "looks like a Grok export",
        ),
        (
            "MyActivity.json",
            b'[{"header": "Gemini Apps", "time": "2025-01-01T00:00:00Z"}]',
            "looks like a Gemini export",
        ),
        ("a.json", b'[{"id": "x", "chat": {"history": {}}}]', "looks like an Open WebUI export"),
        ("a.json", b'{"conversationId": "x", "messages": []}', "looks like a LibreChat export"),
    ],
)
def test_says_what_was_found_and_what_is_accepted(name: str, data: bytes, found: str) -> None:
    with pytest.raises(UnreadableImport) as raised:
        importer_for(io.BytesIO(data), name)
    assert found in raised.value.detail
    if not data.startswith(b"PK\x03\x04 "):
        assert raised.value.detail.endswith(ACCEPTED)
