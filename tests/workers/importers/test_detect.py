from __future__ import annotations

import io
import json

import pytest

from config.errors import UnreadableImport
from tests.exports import chatgpt_conversation, chatgpt_json, chatgpt_zip, encrypted_zip, zip_of
from tests.exports.claude import claude_conversation, claude_json
from tests.exports.gemini import gemini_record
from tests.exports.grok import grok_conversation, grok_json
from tests.exports.local import as_json, librechat_export, webui_chat
from workers.importers.detect import ACCEPTED, importer_for

EXPORT = chatgpt_json([chatgpt_conversation("c")])

OF_OTHERS = {
    "claude": claude_json([claude_conversation("c")]),
    "grok": grok_json([grok_conversation("c")]),
    "gemini": as_json([gemini_record("Prompted A")]),
    "open-webui": as_json([webui_chat("c")]),
    "librechat": as_json(librechat_export("c")),
    "deepseek": b'[{"id": "d", "mapping": {"1": {"message": {"fragments": []}}}}]',
    "branchprompt": b'{"branchprompt": "6f", "title": "T", "messages": []}',
}


@pytest.mark.parametrize("data", [EXPORT, chatgpt_zip([chatgpt_conversation("c")])])
def test_finds_the_importer_by_content(data: bytes) -> None:
    assert importer_for(io.BytesIO(data), "photo.png").source == "chatgpt"


@pytest.mark.parametrize("source", OF_OTHERS)
def test_whose_it_is_does_not_depend_on_names(source: str) -> None:
    data = OF_OTHERS[source]
    zipped = zip_of({"users.json": b"[]", "conversations.json": data})
    indented = json.dumps(json.loads(data), indent=4).encode("utf-16")
    for upload in (data, zipped, indented):
        assert importer_for(io.BytesIO(upload), "conversations.json").source == source


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("a.json", b"", "The file is empty."),
        ("a.json", b"[]", "it holds no conversations"),
        ("a.json", b"{}", "is empty JSON: it holds no conversations"),
        ("a.json", b'{"conversations": []}', "it holds no conversations"),
        ("a.json", b"[1]", "JSON, but holds no conversations of a kind that is known"),
        ("conversations.json", b'[{"a": 1}]', "JSON, but holds no conversations of a kind that is known"),
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
        ("a.zip", zip_of({"user.json": b"{}"}), "holds JSON, but no conversations of a kind that is known"),
        ("a.zip", zip_of({"export.zip": b"PK"}), "holds another zip (“export.zip”)"),
        ("a.zip", encrypted_zip({"conversations.json": EXPORT}), "encrypted"),
        (
            "a.zip",
            zip_of({"conversations.json": EXPORT[:300]}),
            "“conversations.json” in the zip cannot be read: the file ends in",
        ),
        ("a.zip", zip_of({"conversations.json": b"[]"}), "“conversations.json” in the zip is an empty list"),
    ],
)
def test_says_what_was_found_and_what_is_accepted(name: str, data: bytes, found: str) -> None:
    with pytest.raises(UnreadableImport) as raised:
        importer_for(io.BytesIO(data), name)
    assert found in raised.value.detail
    if not data.startswith(b"PK\x03\x04 "):
        assert raised.value.detail.endswith(ACCEPTED)
