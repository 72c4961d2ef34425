"""Claude's export."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports import chatgpt_conversation, zip_of
from tests.exports.claude import (
    ROOT,
    claude_conversation,
    claude_design,
    claude_json,
    claude_message,
    claude_zip,
)
from tests.workers.importers.reading import assert_resumes, check, found_in, kinds, only, path, read, reasons, shown
from workers.importers.claude import claude_conversation as convert

CONVERSATIONS = [claude_conversation(f"c{n}", f"Number {n}") for n in range(4)]
HELLO = [("user", "Hello?"), ("assistant", "Hello.")]


def one(*messages: Any, **more: Any) -> Any:
    return only(claude_json([claude_conversation("c", messages=messages, **more)]), "claude")


@pytest.mark.parametrize(
    "data",
    [
        claude_json(CONVERSATIONS),
        claude_json(CONVERSATIONS).decode().encode("utf-8-sig"),
        claude_json(CONVERSATIONS).decode().encode("utf-16"),
        json.dumps(CONVERSATIONS, indent=2).encode(),
        b"\n".join(json.dumps(conversation).encode() for conversation in CONVERSATIONS),
        claude_zip(CONVERSATIONS),
        zip_of({"data-2025/conversations (1).json": claude_json(CONVERSATIONS)}),
        zip_of({"what I said.json": claude_json(CONVERSATIONS)}),
    ],
)
def test_every_form_of_the_export(data: bytes) -> None:
    items = read(data, "claude")
    assert not reasons(items)
    assert [found.native_id for found in found_in(items)] == ["c0", "c1", "c2", "c3"]
    assert all(shown(found) == HELLO for found in found_in(items))
    assert_resumes(data, "claude")


def test_what_is_told_of_a_conversation() -> None:
    found = only(
        claude_json([claude_conversation("0" * 8 + "-0000-4000-8000-000000000000", "", summary="Short.")]), "claude"
    )
    assert found.title == "Hello?"
    assert found.url == "https://claude.ai/chat/00000000-0000-4000-8000-000000000000"
    assert found.metadata == {"summary": "Short."}
    assert [str(time) for time in (found.created_at, found.updated_at)] == [
        "2025-03-01 10:00:00+00:00",
        "2025-03-01 11:00:00+00:00",
    ]
    assert found.messages[0].created_at is not None
    assert found.messages[0].created_at.microsecond == 123456


def test_without_parents_messages_follow_each_other() -> None:
    found = one(*[claude_message(f"m{n}", "human", str(n)) for n in range(5)])
    assert [text for _, text in shown(found)] == list("01234")


def test_with_parents_the_newest_leaf_is_shown_and_branches_are_kept() -> None:
    found = one(
        claude_message("q", "human", "Q", parent_message_uuid=ROOT),
        claude_message("a1", "assistant", "A1", minute=5, parent_message_uuid="q"),
        claude_message("a2", "assistant", "A2", minute=3, parent_message_uuid="q"),
    )
    assert [text for _, text in shown(found)] == ["Q", "A1"]
    assert len(found.messages) == 3


def test_blocks() -> None:
    content = [
        {"type": "thinking", "thinking": "Let me see.", "summaries": []},
        {"type": "text", "text": "First."},
        {"type": "tool_use", "id": None, "name": "web_search", "input": {"query": "x"}},
        {
            "type": "tool_result",
            "name": "web_search",
            "content": [
                {"type": "knowledge", "title": "A page", "url": "https://a.example", "text": "Facts."},
                {"type": "image", "source": {}},
                {"type": "odd", "text": "kept"},
            ],
        },
        {"type": "token_budget"},
        {
            "type": "text",
            "text": "Second.",
            "citations": [{"details": {"url": "https://a.example", "title": "A page"}}],
        },
        {"type": "voice_note", "title": "Note", "text": "Spoken."},
        {"type": "hologram", "text": "Floating."},
        None,
        7,
    ]
    found = one(claude_message("a", "assistant", "not this", content=content))
    assert kinds(found) == [
        ("assistant", "reasoning"),
        ("assistant", "tool"),
        ("tool", "tool"),
        ("assistant", "visible"),
    ]
    reasoning, call, result, answer = path(found)
    assert reasoning.content == "Let me see."
    assert (call.author_name, call.content) == ("web_search", '```json\n{\n "query": "x"\n}\n```')
    assert result.content == "[A page](https://a.example)\n\nFacts.\n\n[image]\n\nkept"
    assert answer.content == (
        "First.\n\nSecond.\n\nNote\n\nSpoken.\n\nFloating.\n\nSources:\n- [A page](https://a.example)"
    )
    assert answer.native_id == "a"
    assert [note for note in found.notes if "unknown type" in note] == [
        "content of the unknown type “odd”: only its text was kept",
        "content of the unknown type “hologram”: only its text was kept",
    ]


def test_artifacts_are_part_of_the_answer_and_their_changes_are_not() -> None:
    made = {"id": "a", "type": "application/vnd.ant.code", "language": "python", "title": "Sums", "command": "create"}
    content = [
        {"type": "text", "text": "Here:"},
        {"type": "tool_use", "name": "artifacts", "input": made | {"content": "print(1)\n"}},
        {"type": "tool_use", "name": "artifacts", "input": {"command": "update", "old_str": "1", "new_str": "2"}},
        {
            "type": "tool_use",
            "name": "artifacts",
            "input": {"type": "text/markdown", "content": "# Hi", "command": "rewrite"},
        },
    ]
    found = one(claude_message("a", "assistant", content=content))
    assert shown(found) == [("assistant", "Here:\n\n**Sums**\n\n```python\nprint(1)\n```\n\n**Artifact**\n\n# Hi")]
    assert kinds(found)[0] == ("assistant", "tool")


def test_files_made_for_the_person_are_part_of_the_answer_and_others_are_not() -> None:
    def create(path: Any, text: Any) -> Any:
        return {"type": "tool_use", "name": "create_file", "input": {"path": path, "file_text": text}}

    outputs = "/mnt/user-data/outputs"
    shown_there = {"type": "local_resource", "file_path": f"{outputs}/sums.py", "name": "sums.py"}
    content = [
        create(f"{outputs}/sums.py", "print(1)\n"),
        {"type": "tool_result", "name": "present_files", "content": [shown_there]},
        create(f"{outputs}/notes/plan.md", "# Plan"),
        create("/home/claude/draft.py", "draft"),
        create(f"{outputs}/empty.py", " "),
        create(7, ["x"]),
    ]
    found = one(claude_message("a", "assistant", content=content))
    assert shown(found) == [("assistant", "**sums.py**\n\n```py\nprint(1)\n```\n\n**notes/plan.md**\n\n# Plan")]
    assert [message.author_name for message in path(found)[:-1]] == ["present_files", *["create_file"] * 3]
    assert path(found)[0].content == "[file: sums.py]"
    assert not found.notes


def test_a_picture_alone_is_a_message() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    found = one(claude_message("q", "human", "", content=[picture]), claude_message("a", "assistant", "I see."))
    assert shown(found) == [("user", "[image]"), ("assistant", "I see.")]
    assert path(found)[0].parts["attachments"] == [{"kind": "image", "mime_type": "image/png"}]
    assert not found.notes


@pytest.mark.parametrize("content", [[], None, [{"type": "text", "text": ""}], [{"type": "token_budget"}], "missing"])
def test_the_plain_text_serves_where_there_are_no_blocks(content: Any) -> None:
    message = claude_message("a", "human", "plain", content=content) | {"content": content}
    if content == "missing":
        del message["content"]
    assert shown(one(message)) == [("user", "plain")]


def test_what_was_read_in_attachments_is_kept() -> None:
    attachment = {
        "file_name": "notes.md",
        "file_size": 12,
        "file_type": "text/markdown",
        "extracted_content": "```\nx\n```",
    }
    message = claude_message(
        "a", "human", "See", attachments=[attachment, 3], files=[{"file_uuid": "f", "file_name": "p.png"}]
    )
    (found,) = one(message).messages
    assert found.content == "See\n\n[file: notes.md]\n\n````\n```\nx\n```\n````"
    assert found.parts["attachments"] == [
        {"name": "notes.md", "mime_type": "text/markdown", "size": 12},
        {"id": "f", "name": "p.png"},
    ]


def test_design_chats_are_conversations_and_projects_are_told() -> None:
    extra = {
        "design_chats/d.json": json.dumps(claude_design("d")).encode(),
        "projects.json": json.dumps([{"uuid": "p", "name": "x" * 100}]).encode(),
        "memories.json": b"[]",
    }
    items = read(claude_zip(CONVERSATIONS, extra), "claude")
    assert not reasons(items)
    *_, design = found_in(items)
    assert design.title == "A poster"
    assert shown(design) == [
        ("user", "Make it blue\n\n[file: a.txt]\n\n```\nA\n```"),
        ("assistant", "It is blue.\n\nDarker!"),
    ]
    assert kinds(design) == [
        ("user", "visible"),
        ("assistant", "reasoning"),
        ("assistant", "tool"),
        ("assistant", "visible"),
    ]
    assert design.metadata["kind"] == "design"
    assert found_in(items)[0].notes == ["the export also holds projects, which are no conversations and were left out"]
    assert read(json.dumps(claude_design("d")).encode(), "claude")


def test_a_shared_snapshot_is_read_by_its_indexes() -> None:
    messages = [claude_message("b", "assistant", "B", index=1), claude_message("a", "human", "A", index=0)]
    snapshot = {
        "uuid": "s",
        "snapshot_name": "Shared",
        "is_public": True,
        "conversation_uuid": "c",
        "chat_messages": messages,
    }
    found = only(json.dumps(snapshot).encode(), "claude")
    assert (found.title, found.native_id, shown(found)) == ("Shared", "s", [("user", "A"), ("assistant", "B")])


def test_what_is_no_conversation_is_told_and_the_rest_read() -> None:
    damaged = [
        CONVERSATIONS[0],
        7,
        {"uuid": "x", "name": "N", "chat_messages": None},
        chatgpt_conversation("g"),
        CONVERSATIONS[1],
    ]
    items = read(claude_json(damaged), "claude")
    assert len(found_in(items)) == 2
    assert reasons(items)[1].startswith("it has no list of `chat_messages`")
    truncated = claude_json(CONVERSATIONS)[:-200]
    assert [found.native_id for found in found_in(read(truncated, "claude"))] == ["c0", "c1", "c2"]
    assert len(reasons(read(truncated, "claude"))) == 1


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3), max_leaves=4
)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "tool_use", "tool_result", "voice_note", "odd"]) | ANYTHING},
    optional={
        key: ANYTHING
        | st.fixed_dictionaries({}, optional={"content": ANYTHING, "title": ANYTHING, "command": ANYTHING})
        for key in ("text", "thinking", "input", "content", "citations", "name", "summaries")
    },
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "uuid": st.sampled_from("abcdef") | ANYTHING,
        "parent_message_uuid": st.sampled_from("abcdef") | ANYTHING,
        "sender": st.sampled_from(["human", "assistant"]) | ANYTHING,
        "content": st.lists(BLOCK | ANYTHING, max_size=4) | ANYTHING,
        "text": ANYTHING,
        "created_at": ANYTHING,
        "attachments": ANYTHING
        | st.lists(st.dictionaries(st.sampled_from(["file_name", "extracted_content"]), ANYTHING)),
        "files": ANYTHING,
        "index": st.integers() | ANYTHING,
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGE | ANYTHING, max_size=8), ANYTHING, ANYTHING)
def test_anything_is_read_or_told(messages: list[Any], name: Any, time: Any) -> None:
    check(convert(claude_conversation("c", name, messages, created_at=time)))


def test_a_message_of_30_megabytes() -> None:
    found = one(claude_message("a", "human", "long " * 6_000_000))
    assert len(found.messages[0].content) == 30_000_000
