"""Values nested deeper than anything may be written, in every place of every source."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.exports import Json, chatgpt_conversation
from tests.exports.claude import claude_conversation, claude_design
from tests.exports.gemini import gemini_record, of_thread
from tests.exports.grok import grok_conversation, grok_share
from tests.exports.local import as_json, librechat_export, webui_chat
from workers.importers.detect import IMPORTERS
from workers.importers.gemini import as_conversation, json_record
from workers.importers.gemini_records import Record
from workers.importers.json_importer import JsonImporter
from workers.importers.ports import ImportedConversation, ImportFailure


def deep() -> Any:
    value: Any = "x"
    for number in range(5000):
        value = {"text": value, "a": [value]} if number % 2 else [value]
    return value


DEEP = deep()
MADE: dict[str, list[Json]] = {
    "chatgpt": [chatgpt_conversation("c")],
    "claude": [claude_conversation("c"), claude_design("d")],
    "grok": [grok_conversation("c"), grok_share("s")],
    "open-webui": [webui_chat("c")],
    "librechat": [librechat_export("c")],
    "gemini": [gemini_record("Prompted A", **of_thread("abcdef1"))],
    "deepseek": [
        {"id": "d", "mapping": {"1": {"parent": None, "message": {"fragments": [{"type": "REQUEST", "content": "Q"}]}}}}
    ],
    "branchprompt": [{"branchprompt": "6f", "title": "T", "messages": [{"role": "user", "content": "Q"}]}],
}


def places(value: Any, holder: Any = None, key: Any = None) -> list[tuple[Any, Any]]:
    found = [(holder, key)] if holder is not None else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for at, below in list(items):
        found += places(below, value, at)
    return found


@pytest.mark.parametrize("source", MADE)
def test_depth_in_any_place_is_read_or_told(source: str) -> None:
    for made in MADE[source]:
        for number in range(len(places(made))):
            raw = orjson.loads(as_json(made))
            holder, key = places(raw)[number]
            holder[key] = DEEP
            found = convert(source, raw)
            if isinstance(found, ImportedConversation):
                orjson.dumps(
                    [
                        found.title,
                        found.metadata,
                        [(m.content, m.parts, m.model, m.author_name) for m in found.messages],
                    ]
                )


def convert(source: str, raw: Json) -> ImportedConversation | ImportFailure | None:
    if source == "gemini":
        record = json_record(raw)
        return as_conversation([record], ()) if isinstance(record, Record) else record
    importer = next(found for found in IMPORTERS if found.source == source)
    assert isinstance(importer, JsonImporter)
    importer.is_mine(raw)
    return importer.convert(raw)
