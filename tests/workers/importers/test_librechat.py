"""LibreChat's export, flat and as a tree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports import zip_of
from tests.exports.local import NO_PARENT, as_json, librechat_export, librechat_message, nested
from tests.workers.importers.reading import assert_resumes, check, found_in, kinds, only, path, read, reasons, shown
from workers.importers.librechat import librechat_conversation as convert

SOURCE = "librechat"
HELLO = [("user", "Hello?"), ("assistant", "Hello.")]
BRANCHED = [
    librechat_message("q", "Q"),
    librechat_message("a1", "A1", "q", 1, isCreatedByUser=False),
    librechat_message("q2", "Q2", "a1", 2),
    librechat_message("a2", "A2", "q", 1, isCreatedByUser=False),
]


def one(*messages: Any) -> Any:
    return only(as_json(librechat_export("c", messages)), SOURCE)


@pytest.mark.parametrize("messages", [BRANCHED, nested(BRANCHED)])
@pytest.mark.parametrize("key", ["messages", "messagesTree"])
def test_flat_and_nested_are_the_same(messages: list[Any], key: str) -> None:
    raw = librechat_export("c", [])
    del raw["messages"]
    found = only(as_json(raw | {key: messages, "recursive": True}), SOURCE)
    assert [text for _, text in shown(found)] == ["Q", "A1", "Q2"]
    assert {m.native_id: m.parent_native_id for m in found.messages} == {"q": None, "a1": "q", "q2": "a1", "a2": "q"}


def test_a_zip_of_many_and_what_is_told() -> None:
    data = zip_of({f"{n}.json": as_json(librechat_export(f"c{n}")) for n in range(3)})
    items = read(data, SOURCE)
    assert [found.native_id for found in found_in(items)] == ["c0", "c1", "c2"]
    assert_resumes(data, SOURCE)
    found = found_in(items)[0]
    assert (found.model, found.metadata, shown(found)) == ("gpt-4o", {"endpoint": "openAI"}, HELLO)
    assert str(found.created_at) == "2025-04-01 10:00:00+00:00"


def test_a_tree_deeper_than_the_decoder_follows() -> None:
    many = [librechat_message(f"m{n}", str(n), f"m{n - 1}" if n else NO_PARENT) for n in range(20_000)]
    pieces = [as_json(message).decode()[:-1] + ', "children": [' for message in many]
    text = '{"conversationId": "deep", "title": "D", "messages": [' + "".join(pieces) + "]}" * 20_000 + "]}"
    found = only(text.encode(), SOURCE)
    assert len(path(found)) == 20_000


def test_content_parts() -> None:
    content = [
        {"type": "think", "think": "Hm."},
        {"type": "text", "text": {"value": "So."}},
        {"type": "tool_call", "tool_call": {"name": "search", "args": '{"q": 1}', "output": "found"}},
        {"type": "image_file", "image_file": {"file_id": "f", "filename": "a.png"}},
        {"type": "error", "error": "broke"},
        {"type": "odd", "text": "kept"},
        "bare",
    ]
    found = one(librechat_message("a", "ignored", isCreatedByUser=False, content=content))
    assert [visibility for _, visibility in kinds(found)] == ["reasoning", "tool", "tool", "visible"]
    assert shown(found) == [("assistant", "So.\n\n[error: broke]\n\nkept\n\nbare")]
    assert path(found)[-1].parts["attachments"] == [{"id": "f", "name": "a.png", "kind": "image"}]
    assert found.notes == ["content of the unknown type “odd”: only its text was kept"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":::thinking\nHm.\n:::\n\nSo.", [("reasoning", "Hm."), ("visible", "So.")]),
        (":::thinking\nnever closed", [("visible", ":::thinking\nnever closed")]),
        ("Say :::thinking\nx\n:::", [("visible", "Say :::thinking\nx\n:::")]),
    ],
)
def test_reasoning_that_stands_in_the_text(text: str, expected: list[tuple[str, str]]) -> None:
    found = one(librechat_message("a", text, isCreatedByUser=False))
    assert [(message.visibility, message.content) for message in path(found)] == expected


def test_an_empty_export_and_one_without_messages() -> None:
    (item,) = read(as_json(librechat_export("c", [])), SOURCE)
    assert check(item.found).notes == ["the conversation holds no messages"]
    items = read(as_json([librechat_export("c"), {"conversationId": "x", "messages": None}]), SOURCE)
    assert len(reasons(items)) == 1


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3), max_leaves=4
)
ID = st.sampled_from("abcdef")
KEYS = ["messageId", "parentMessageId", "text", "content", "sender", "isCreatedByUser", "createdAt", "files", "model"]
MESSAGE = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), ID | ANYTHING),
    lambda inner: st.builds(
        lambda message, below: message | {"children": below}, inner, st.lists(inner | ANYTHING, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(MESSAGE | ANYTHING, max_size=5))
def test_anything_is_read_or_told(messages: list[Any]) -> None:
    check(convert({"conversationId": "c", "messages": messages}))
