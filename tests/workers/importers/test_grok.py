"""Grok's export, in both generations, and what its share links show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports.grok import (
    grok_conversation,
    grok_json,
    grok_old,
    grok_response,
    grok_share,
    grok_zip,
)
from tests.workers.importers.reading import assert_resumes, check, found_in, kinds, only, path, read, reasons, shown
from workers.importers.grok import grok_conversation as convert
from workers.importers.markup import cut

CONVERSATIONS = [grok_conversation("new"), grok_old("old"), grok_conversation("newer")]
HELLO = [("user", "Hello?"), ("assistant", "Hello.")]


def one(*responses: Any, **more: Any) -> Any:
    return only(grok_json([grok_conversation("c", responses=responses, **more)]), "grok")


@pytest.mark.parametrize(
    "data",
    [
        grok_json(CONVERSATIONS),
        json.dumps({"projects": [{"name": "x"}], "tasks": [], "conversations": CONVERSATIONS}).encode(),
        json.dumps(CONVERSATIONS).encode(),
        grok_zip(CONVERSATIONS),
        grok_zip(CONVERSATIONS, "//"),
    ],
)
def test_every_form_of_the_export(data: bytes) -> None:
    items = read(data, "grok")
    assert not reasons(items)
    assert [found.native_id for found in found_in(items)] == ["new", "old", "newer"]
    assert all(shown(found) == HELLO for found in found_in(items))
    assert_resumes(data, "grok")


def test_a_share_link_s_answer() -> None:
    found = only(json.dumps(grok_share("s")).encode(), "grok")
    assert (found.native_id, shown(found)) == ("s", HELLO)
    assert found.model == "grok-4"


def test_times_models_and_titles() -> None:
    found = only(grok_json([grok_conversation("c", "T")]), "grok")
    assert str(found.messages[1].created_at) == "2025-06-15 15:07:40+00:00"
    assert (found.messages[0].model, found.messages[1].model, found.title) == (None, "grok-4", "T")
    old = only(grok_json([grok_old("c")]), "grok")
    assert old.messages[1].model == "grok-3"
    iso = one(grok_response("a", "human", "A", create_time={"$date": "2025-01-01T00:00:00Z"}))
    assert str(iso.messages[0].created_at) == "2025-01-01 00:00:00+00:00"


def test_without_parents_responses_follow_in_time() -> None:
    found = one(
        grok_response("b", "ASSISTANT", "B", minute=1),
        grok_response("a", "human", "A"),
        grok_response("c", "human", "C", minute=2),
    )
    assert [text for _, text in shown(found)] == ["A", "B", "C"]


def test_a_retry_without_a_parent_answers_the_same_question() -> None:
    found = one(
        grok_response("q", "human", "Q"),
        grok_response("a1", "assistant", "A1", "q", 1),
        grok_response("a2", "assistant", "A2", None, 2),
        grok_response("q2", "human", "Q2", "a2", 3),
    )
    assert [text for _, text in shown(found)] == ["Q", "A2", "Q2"]
    assert {m.native_id: m.parent_native_id for m in found.messages}["a1"] == "q"


def test_the_leaf_that_is_named_is_shown() -> None:
    found = one(
        grok_response("q", "human", "Q"),
        grok_response("a1", "assistant", "A1", "q", 1),
        grok_response("a2", "assistant", "A2", "q", 2),
        leaf_response_id="a1",
    )
    assert [text for _, text in shown(found)] == ["Q", "A1"]


def test_what_is_drawn_thought_and_searched_is_not_in_the_text() -> None:
    card = "<xai:tool_usage_card><xai:tool_name>web_search</xai:tool_name></xai:tool_usage_card>"
    render = (
        '<grok:render card_id="1" type="render_inline_citation"><argument name="citation_id">1</argument></grok:render>'
    )
    found = one(
        grok_response(
            "a",
            "assistant",
            f"{card}It is so{render}. 1 < 2 <b>",
            thinking_trace="Hm.",
            agent_thinking_traces=[{"agent": "x", "thinking_trace": "Agent's."}],
            steps=[{"tool": "search"}],
            web_search_results=[{"title": "P", "url": "https://p.example"}],
            cited_web_search_results=[{"title": "P", "url": "https://p.example"}],
            partial=True,
        )
    )
    assert kinds(found) == [
        ("assistant", "reasoning"),
        ("assistant", "reasoning"),
        ("assistant", "tool"),
        ("tool", "tool"),
        ("assistant", "tool"),
        ("assistant", "visible"),
    ]
    answer = path(found)[-1]
    assert answer.content == "It is so. 1 < 2 <b>\n\nSources:\n- [P](https://p.example)"
    assert answer.parts["status"] == "partial"
    assert "web_search</xai:tool_name>" in path(found)[-2].content


def test_pictures_files_and_errors() -> None:
    found = one(
        grok_response("i", "assistant", "", generated_image_urls=["users/x/1.jpg", "users/x/2.jpg"]),
        grok_response(
            "f", "human", "See", file_attachments=["asset-1", {"fileName": "a.pdf", "fileMimeType": "application/pdf"}]
        ),
        grok_response("e", "assistant", "", error="Rate limited"),
        grok_response("x", "assistant", ""),
    )
    assert [m.content for m in found.messages] == ["[image]\n[image]", "See", "[error: Rate limited]"]
    assert found.messages[0].parts["attachments"][0] == {"kind": "image", "url": "users/x/1.jpg"}
    assert found.messages[1].parts["attachments"] == [
        {"id": "asset-1"},
        {"name": "a.pdf", "mime_type": "application/pdf"},
    ]


def test_an_id_is_made_where_there_is_none() -> None:
    def made(*texts: str) -> str:
        responses = [grok_response(None, "human", text, minute=n) for n, text in enumerate(texts)]
        raw = grok_conversation("x", responses=responses)
        del raw["conversation"]["id"]
        return only(grok_json([raw]), "grok").native_id

    assert made("a") == made("a", "b") != made("b")


@pytest.mark.parametrize(
    ("text", "left", "count"),
    [
        ("a<t>b</t>c", "ac", 1),
        ("a<t/>c<t x='1' />d", "acd", 2),
        ("a<t>never closed", "a<t>never closed", 0),
        ("a<tx>b</tx>c", "a<tx>b</tx>c", 0),
        ("<t><t>b</t></t>", "</t>", 1),
        ("<t", "<t", 0),
    ],
)
def test_cutting_elements(text: str, left: str, count: int) -> None:
    rest, removed = cut(text, "t")
    assert (rest, len(removed)) == (left, count)


def test_cutting_takes_linear_time() -> None:
    assert cut("<t" * 1_000_000, "t")[1] == []
    assert cut("<t>" * 1_000_000, "t")[1] == []
    assert len(cut("<t></t>" * 300_000, "t")[1]) == 300_000


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3), max_leaves=4
)
KEYS = [
    "_id",
    "response_id",
    "parent_response_id",
    "sender",
    "message",
    "create_time",
    "steps",
    "error",
    "thinking_trace",
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(KEYS), st.sampled_from("abcdef") | ANYTHING) | ANYTHING, max_size=8),
    ANYTHING,
)
def test_anything_is_read_or_told(responses: list[Any], leaf: Any) -> None:
    check(convert({"conversation": {"id": "c", "leaf_response_id": leaf}, "responses": responses}))
