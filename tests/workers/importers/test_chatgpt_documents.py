"""Canvas documents and research reports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.exports import chatgpt_message, chatgpt_node, chatgpt_tree
from workers.importers.chatgpt_conversation import conversation
from workers.importers.ports import ImportedConversation, ImportedMessage

Json = dict[str, Any]


def one(message: Json) -> ImportedMessage:
    found = conversation(chatgpt_tree("c", {"m": chatgpt_node("m", None, message)}))
    assert isinstance(found, ImportedConversation)
    assert not found.notes
    [only] = found.messages
    return only


def canvas(written: Any, **more: Any) -> ImportedMessage:
    content = {"content_type": "code", "language": "json", "text": json.dumps(written)}
    recipient = {"recipient": "canmore.create_textdoc"}
    return one(chatgpt_message("m", "assistant", content=content, **recipient | more))


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ({"name": "Poem", "type": "document", "content": "Roses\nare red"}, "**Poem**\n\nRoses\nare red"),
        ({"name": "Sums", "type": "code/python", "content": "1 + 1"}, "**Sums**\n\n```python\n1 + 1\n```"),
        ({"content": "No name \ud800\x00"}, "No name \ufffd"),
    ],
)
def test_a_canvas_document_is_shown(written: Json, shown: str) -> None:
    found = canvas(written)
    assert (found.role, found.visibility, found.content) == ("assistant", "visible", shown)


@pytest.mark.parametrize("written", [{}, [], {"content": 7}, {"content": " "}, "bare"])
def test_what_is_no_document_stays_the_tool_s(written: Any) -> None:
    assert canvas(written).visibility == "tool"


def test_changes_of_a_document_stay_the_tool_s() -> None:
    found = canvas({"updates": [{"pattern": ".*", "replacement": "x"}]}, recipient="canmore.update_textdoc")
    assert found.visibility == "tool"


def test_a_hidden_document_stays_hidden() -> None:
    assert canvas({"content": "x"}, metadata={"is_visually_hidden_from_conversation": True}).visibility == "hidden"


def report(state: Any) -> ImportedMessage:
    metadata = {"chatgpt_sdk": {"widget_state": state if isinstance(state, str) else json.dumps(state)}}
    return one(chatgpt_message("m", "tool", "The widget is drawn.", metadata=metadata))


def written(status: str = "completed") -> Json:
    cite = "\ue200cite\ue202turn0search0\ue201"
    page = {"matched_text": cite, "title": "Site", "url": "https://example.org/a"}
    content = {"content_type": "text", "parts": [f"# Corals{cite}"]}
    return {"status": status, "report_message": {"content": content, "metadata": {"content_references": [page]}}}


def test_a_research_report_is_shown_with_its_sources() -> None:
    found = report(written())
    assert (found.role, found.visibility) == ("assistant", "visible")
    assert found.content == "# Corals ([Site](https://example.org/a))"
    assert found.parts["citations"] == [{"title": "Site", "url": "https://example.org/a"}]


@pytest.mark.parametrize(
    "state", [written("running"), {"status": "completed"}, {"report_message": {}}, "{", "7", "[" * 200_000]
)
def test_without_a_finished_report_the_message_is_as_ever(state: Any) -> None:
    found = report(state)
    assert (found.role, found.visibility, found.content) == ("tool", "tool", "The widget is drawn.")
