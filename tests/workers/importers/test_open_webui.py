"""Open WebUI's export."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports import zip_of
from tests.exports.local import as_json, webui_chat, webui_message
from tests.workers.importers.reading import assert_resumes, check, found_in, kinds, only, path, read, reasons, shown
from workers.importers.open_webui import open_webui_conversation as convert

SOURCE = "open-webui"
CHATS = [webui_chat(f"c{n}") for n in range(3)]
HELLO = [("user", "Hello?"), ("assistant", "Hello.")]


def one(*messages: Any, current: str | None = None) -> Any:
    return only(as_json([webui_chat("c", messages, current)]), SOURCE)


@pytest.mark.parametrize("data", [as_json(CHATS), zip_of({"chat-export-1.json": as_json(CHATS)})])
def test_every_form_of_the_export(data: bytes) -> None:
    items = read(data, SOURCE)
    assert [found.native_id for found in found_in(items)] == ["c0", "c1", "c2"]
    assert all(shown(found) == HELLO for found in found_in(items))
    assert_resumes(data, SOURCE)


@pytest.mark.parametrize("raw", [CHATS[0], CHATS[0]["chat"]])
def test_one_chat_by_itself(raw: Any) -> None:
    found = only(as_json(raw), SOURCE)
    assert shown(found) == HELLO
    assert found.model == "llama3.2"


def test_what_is_told_of_a_chat() -> None:
    found = only(as_json([webui_chat("c", archived=True, pinned=True, folder_id="f")]), SOURCE)
    assert found.is_archived
    assert found.metadata == {"folder_id": "f", "is_pinned": True, "tags": ["greeting"]}
    assert str(found.updated_at) == "2025-02-19 21:21:40+00:00"


@pytest.mark.parametrize(("current", "end"), [("a1", "A1"), ("gone", "A2"), (None, "A2")])
def test_the_current_message_ends_the_path(current: str | None, end: str) -> None:
    found = one(
        webui_message("q", "user", "Q"),
        webui_message("a1", "assistant", "A1", "q", 1_740_000_010),
        webui_message("a2", "assistant", "A2", "q", 1_740_000_020),
        current=current,
    )
    assert [text for _, text in shown(found)] == ["Q", end]
    assert len(found.messages) == 3


def test_without_a_history_the_list_of_messages_serves() -> None:
    raw = webui_chat("c", [])
    raw["chat"]["messages"] = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]
    assert shown(only(as_json([raw]), SOURCE)) == [("user", "A"), ("assistant", "B")]


def test_folded_details_are_not_shown() -> None:
    text = (
        '<details type="reasoning" done="true" duration="3">\n<summary>Thought for 3 seconds</summary>\n'
        "&gt; So &lt;x&gt;.\n> Then.\n</details>\n"
        '<details type="tool_calls" done="true" name="clock" arguments="&quot;{}&quot;" result="&quot;noon&quot;">\n'
        "<summary>Tool Executed</summary>\n</details>\n"
        "It is noon.\n<details><summary>More</summary>kept</details>"
    )
    found = one(webui_message("a", "assistant", text, reasoning_content=None))
    assert kinds(found) == [
        ("assistant", "reasoning"),
        ("assistant", "tool"),
        ("tool", "tool"),
        ("assistant", "visible"),
    ]
    reasoning, call, result, answer = path(found)
    assert reasoning.content == "So <x>.\nThen."
    assert (call.author_name, result.content) == ("clock", '"noon"')
    assert answer.content == "It is noon.\n<details><summary>More</summary>kept</details>"


def test_parts_files_sources_and_errors() -> None:
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    files = [{"type": "file", "id": "f", "name": "a.pdf", "size": 5}, {"type": "image", "url": "/api/v1/files/x"}]
    sources = [{"source": {"name": "docs"}, "metadata": [{"source": "https://s.example", "name": "S"}]}]
    found = one(
        webui_message("q", "user", parts, files=files),
        webui_message("a", "assistant", "Yes", "q", sources=sources),
        webui_message("e", "assistant", "", "a", error={"content": "no model"}),
    )
    asked, answer, failed = found.messages
    assert asked.parts["attachments"] == [
        {"kind": "image", "name": "image"},
        {"id": "f", "name": "a.pdf", "size": 5},
        {"kind": "image", "url": "/api/v1/files/x"},
    ]
    assert answer.parts["citations"] == [{"title": "S", "url": "https://s.example"}]
    assert failed.content == "[error: no model]"


def test_the_newer_output_serves_where_there_is_no_content() -> None:
    output = [
        {"type": "reasoning", "summary": [{"text": "Hm."}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "output": [{"text": "1"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "One."}]},
    ]
    found = one(webui_message("a", "assistant", "", output=output))
    assert [visibility for _, visibility in kinds(found)] == ["reasoning", "tool", "tool", "visible"]
    assert shown(found) == [("assistant", "One.")]


def test_what_is_no_chat_is_told() -> None:
    items = read(as_json([CHATS[0], 3, {"id": "x", "title": "T", "chat": {}}]), SOURCE)
    assert reasons(items)[1].startswith("it has neither `history` nor `messages`")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3), max_leaves=4
)
ID = st.sampled_from("abcdef")
KEYS = ["id", "parentId", "role", "content", "timestamp", "files", "error", "sources", "output", "model"]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(ID, st.dictionaries(st.sampled_from(KEYS), ID | ANYTHING) | ANYTHING), ID | ANYTHING)
def test_anything_is_read_or_told(nodes: dict[str, Any], current: Any) -> None:
    check(convert({"id": "c", "chat": {"history": {"messages": nodes, "currentId": current}}}))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(ID, ID | st.none()), ID)
def test_any_tree(parents: dict[str, str | None], current: str) -> None:
    nodes = {id: webui_message(id, "user", f"says {id}", parent) for id, parent in parents.items()}
    found = convert({"chat": {"history": {"messages": nodes, "currentId": current}}})
    assert sorted(message.content for message in check(found).messages) == sorted(f"says {id}" for id in parents)
    if current in parents:
        assert check(found).current_native_id == current
