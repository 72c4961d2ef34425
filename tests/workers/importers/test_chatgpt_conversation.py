from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports import JANUARY_2025, chatgpt_conversation, chatgpt_message, chatgpt_node, chatgpt_tree
from workers.importers.chatgpt_conversation import conversation
from workers.importers.ports import ImportedConversation, ImportedMessage, ImportFailure

Json = dict[str, Any]


def convert(raw: Any) -> ImportedConversation:
    found = conversation(raw)
    assert isinstance(found, ImportedConversation)
    return found


def one(message: Json) -> ImportedMessage:
    [found] = convert(chatgpt_tree("c", {"m": chatgpt_node("m", None, message)})).messages
    return found


def test_a_straight_conversation() -> None:
    found = convert(chatgpt_conversation("abc", "Tea", [("user", "Which tea?"), ("assistant", "Green.")]))
    assert (found.source, found.native_id, found.title) == ("chatgpt", "abc", "Tea")
    assert found.url == "https://chatgpt.com/c/abc"
    assert found.model == "gpt-4o"
    assert found.created_at == datetime(2025, 1, 1, tzinfo=UTC)
    assert [(m.role, m.content, m.visibility, m.model) for m in found.messages] == [
        ("user", "Which tea?", "visible", None),
        ("assistant", "Green.", "visible", "gpt-4o"),
    ]
    # The empty root and the empty system message are spliced out.
    assert [(m.native_id, m.parent_native_id) for m in found.messages] == [("abc-0", None), ("abc-1", "abc-0")]
    assert found.current_native_id == "abc-1"
    assert found.notes == []


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["text", "all", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "parts", "text", "id"]), inner),
    max_leaves=6,
)
CONTENT_TYPES = ["text", "code", "multimodal_text", "thoughts", "tether_quote", "sonic_webpage", "new"]
CONTENT = st.fixed_dictionaries(
    {"content_type": st.sampled_from(CONTENT_TYPES) | JUNK},
    optional=dict.fromkeys(("parts", "text", "language", "thoughts", "url", "title", "result"), JUNK),
)
MESSAGE = st.fixed_dictionaries(
    {"content": CONTENT | JUNK},
    optional={
        "author": JUNK
        | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool", "oracle"]) | JUNK}),
        "create_time": JUNK,
        "recipient": JUNK,
        "channel": JUNK,
        "status": JUNK,
        "metadata": JUNK | st.fixed_dictionaries({"attachments": JUNK, "citations": JUNK, "model_slug": JUNK}),
    },
)
KEYS = ("id", "conversation_id", "title", "create_time", "update_time", "current_node", "gizmo_id", "is_archived")


@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "mapping": st.dictionaries(
                st.text("ab", max_size=2),
                st.fixed_dictionaries({"message": MESSAGE | JUNK, "parent": JUNK, "children": JUNK}) | JUNK,
                max_size=4,
            )
        },
        optional=dict.fromkeys(KEYS, JUNK),
    )
)
def test_junk_in_any_place_is_read(raw: Json) -> None:
    found = convert(raw)
    assert found.title
    assert found.native_id
    assert all(isinstance(message.content, str) and message.native_id for message in found.messages)


# --- one message ---


@pytest.mark.parametrize(
    ("role", "more", "visibility"),
    [
        ("user", {}, "visible"),
        ("assistant", {}, "visible"),
        ("assistant", {"channel": "final"}, "visible"),
        ("assistant", {"channel": "commentary"}, "visible"),
        ("assistant", {"channel": "analysis"}, "reasoning"),
        ("assistant", {"recipient": "python"}, "tool"),
        ("assistant", {"recipient": "canmore.create_textdoc"}, "tool"),
        ("assistant", {"recipient": None}, "visible"),
        ("tool", {}, "tool"),
        ("system", {}, "hidden"),
        ("system", {"metadata": {"is_user_system_message": True}}, "visible"),
        ("user", {"metadata": {"is_visually_hidden_from_conversation": True}}, "hidden"),
        ("assistant", {"content": {"content_type": "thoughts", "thoughts": [{"content": "x"}]}}, "reasoning"),
        ("assistant", {"content": {"content_type": "code", "text": "x"}}, "visible"),
        ("assistant", {"content": {"content_type": "code", "text": "x"}, "recipient": "python"}, "tool"),
        ("assistant", {"content": {"content_type": "new"}}, "hidden"),
        ("assistant", {"content": {"content_type": "new", "text": "x"}}, "visible"),
    ],
)
def test_visibility(role: str, more: Json, visibility: str) -> None:
    assert one(chatgpt_message("m", role, "text", **more)).visibility == visibility


def test_pictures_made_by_a_tool_are_visible() -> None:
    content = {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer"}]}
    found = one(chatgpt_message("m", "tool", content=content, author={"role": "tool", "name": "dalle.text2im"}))
    assert (found.visibility, found.author_name, found.content) == ("visible", "dalle.text2im", "[image]")


@pytest.mark.parametrize(
    ("author", "role", "note"),
    [
        ({"role": "function"}, "tool", None),
        ({"role": "developer"}, "system", None),
        ({"role": "oracle"}, "assistant", "a message with the unknown role “oracle” was taken as the assistant's"),
        ({"role": None}, "assistant", "a message without an author was taken as the assistant's"),
        (None, "assistant", "a message without an author was taken as the assistant's"),
    ],
)
def test_roles(author: Any, role: str, note: str | None) -> None:
    message = chatgpt_message("m", "user", "text", author=author)
    found = convert(chatgpt_tree("c", {"m": chatgpt_node("m", None, message)}))
    assert found.messages[0].role == role
    assert found.notes == ([note] if note else [])


def test_unknown_content_is_counted_in_the_notes() -> None:
    messages = [
        chatgpt_message(str(n), "assistant", content={"content_type": "hologram", "text": "x"}) for n in range(3)
    ]
    found = convert(chatgpt_tree("c", {m["id"]: chatgpt_node(m["id"], None, m) for m in messages}))
    assert found.notes == ["content of the unknown type “hologram”: only its text was kept (3×)"]


def test_parts_hold_what_the_text_cannot() -> None:
    cite = "\ue200cite\ue202turn0search0\ue201"
    page = {"title": "T", "url": "https://example.org"}
    metadata = {"attachments": [{"id": "f", "name": "a.pdf"}], "content_references": [page | {"matched_text": cite}]}
    found = one(
        chatgpt_message("m", "assistant", f"So {cite}", metadata=metadata, channel="final", status="in_progress")
    )
    assert found.content == "So ([T](https://example.org))"
    assert found.parts == {
        "content_type": "text",
        "attachments": [{"id": "f", "name": "a.pdf"}],
        "citations": [page],
        "channel": "final",
        "status": "in_progress",
    }


def test_a_message_that_is_only_a_file_names_it() -> None:
    assert (
        one(chatgpt_message("m", "user", "", metadata={"attachments": [{"name": "a.pdf"}]})).content == "[file: a.pdf]"
    )


def test_what_people_write_is_not_taken_for_citations() -> None:
    assert one(chatgpt_message("m", "user", "a【1†b】")).content == "a【1†b】"


def test_a_30_megabyte_message() -> None:
    assert len(one(chatgpt_message("m", "user", "data:image/png;base64," + "A" * 30_000_000)).content) > 30_000_000


# --- the conversation around them ---


@pytest.mark.parametrize(
    ("time", "year"), [("1735689600", 2025), (1735689600000, 2025), (0, 2025), (None, 2025), (-5, 2025)]
)
def test_times_of_a_conversation(time: Any, year: int) -> None:
    raw = chatgpt_conversation("c", create_time=JANUARY_2025) | {"create_time": time, "update_time": time}
    found = convert(raw)
    assert found.created_at
    assert found.updated_at
    assert found.created_at.year == found.updated_at.year == year


def test_replies_earlier_than_prompts_keep_their_place() -> None:
    mapping = {
        "q": chatgpt_node("q", None, chatgpt_message("q", "user", "q", time=JANUARY_2025 + 60)),
        "a": chatgpt_node("a", "q", chatgpt_message("a", "assistant", "a", time=JANUARY_2025)),
    }
    found = convert(chatgpt_tree("c", mapping, create_time=None))
    assert [message.native_id for message in found.messages] == ["q", "a"]
    assert found.created_at == datetime(2025, 1, 1, tzinfo=UTC)


def test_a_title_from_the_first_question() -> None:
    assert convert(chatgpt_conversation("c", None, [("user", "Which\ntea " + "is best " * 30)])).title.startswith(
        "Which tea is"
    )
    assert convert(chatgpt_conversation("c", "", [("assistant", "Hello")])).title == "Untitled"


def test_ids_are_made_from_content_and_survive_growth() -> None:
    short = chatgpt_conversation("", "Tea", [("user", "Which tea?")], conversation_id=None)
    grown = chatgpt_conversation("", "Renamed", [("user", "Which tea?"), ("assistant", "Green.")], conversation_id=None)
    other = chatgpt_conversation("", "Tea", [("user", "Which coffee?")], conversation_id=None)
    assert convert(short).native_id == convert(grown).native_id != convert(other).native_id
    assert convert(short).url is None
    assert convert(chatgpt_conversation("", conversation_id="x y")).url is None


def test_odd_node_ids_are_replaced_alike_everywhere() -> None:
    mapping = {
        "x" * 1000: chatgpt_node("", None, chatgpt_message("", "user", "one")),
        "": chatgpt_node("", "x" * 1000, chatgpt_message("", "user", "two")),
    }
    found = convert(chatgpt_tree("c", mapping, ""))
    first, second = found.messages
    assert 0 < len(first.native_id) <= 200
    assert second.native_id
    assert second.parent_native_id == first.native_id
    assert found.current_native_id == second.native_id


def test_archived_and_other_facts() -> None:
    found = convert(chatgpt_conversation("c", is_archived=True, gizmo_id="g-1", is_starred=True, memory_scope=None))
    assert found.is_archived
    assert found.metadata == {"gizmo_id": "g-1", "default_model_slug": "gpt-4o", "is_starred": True}


def test_an_empty_conversation_is_one() -> None:
    found = convert(chatgpt_tree("c", {}))
    assert (found.messages, found.current_native_id) == ([], None)
    assert found.notes == ["the conversation holds no messages"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"id": "c", "title": "Tea"}, "it has no `mapping`"),
        ({"id": "c", "title": "Tea", "mapping": None}, "its `mapping` is empty"),
        ({"id": "c", "title": "Tea", "mapping": []}, "its `mapping` is a list"),
    ],
)
def test_no_mapping(raw: Json, reason: str) -> None:
    found = conversation(raw)
    assert isinstance(found, ImportFailure)
    assert found.reason.startswith(reason)
    assert (found.native_id, found.title) == ("c", "Tea")


@pytest.mark.parametrize("raw", [None, 3, "x", [], True])
def test_what_is_no_conversation(raw: Any) -> None:
    assert isinstance(conversation(raw), ImportFailure)
