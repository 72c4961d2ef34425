"""What becomes of a mapping: every branch kept, whatever its links say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports import JANUARY_2025, chatgpt_message, chatgpt_node, chatgpt_tree
from workers.importers.chatgpt_conversation import conversation
from workers.importers.ports import ImportedConversation


def convert(raw: Any) -> ImportedConversation:
    found = conversation(raw)
    assert isinstance(found, ImportedConversation)
    return found


def tree(parents: dict[str, Any], current: Any = None, **more: Any) -> ImportedConversation:
    """A conversation whose nodes all say their own name."""
    mapping = {id: chatgpt_node(id, parent, chatgpt_message(id, "user", id)) for id, parent in parents.items()}
    return convert(chatgpt_tree("c", mapping, current, **more))


def links(found: ImportedConversation) -> dict[str, str | None]:
    return {message.native_id: message.parent_native_id for message in found.messages}


def test_every_branch_is_kept_in_the_order_of_the_children_list() -> None:
    mapping = {
        "r": chatgpt_node("r", None, None, ["b", "a"]),
        "a": chatgpt_node("a", "r", chatgpt_message("a", "user", "a")),
        "b": chatgpt_node("b", "r", chatgpt_message("b", "user", "b")),
        "b1": chatgpt_node("b1", "b", chatgpt_message("b1", "assistant", "b1")),
    }
    found = convert(chatgpt_tree("c", mapping, "a"))
    assert list(links(found)) == ["b", "b1", "a"]
    assert found.current_native_id == "a"


def test_two_nodes_that_are_each_others_parent() -> None:
    found = tree({"a": "b", "b": "a", "c": "b"}, current="b")
    assert links(found) == {"a": None, "b": "a", "c": "b"}
    assert found.current_native_id == "b"
    assert "circle" in found.notes[0]


def test_a_node_that_is_its_own_parent() -> None:
    assert links(tree({"a": "a", "b": "a"})) == {"a": None, "b": "a"}


def test_orphans_and_second_roots_begin_branches() -> None:
    found = tree({"a": None, "b": "gone", "c": "b", "d": None})
    assert links(found) == {"a": None, "b": None, "c": "b", "d": None}
    assert found.notes == ["a message names a parent that is not in the file; it begins a branch of its own"]


def test_children_lists_help_where_the_parent_is_missing() -> None:
    mapping = {
        "a": chatgpt_node("a", None, chatgpt_message("a", "user", "a"), ["b", "unknown", "a"]),
        "b": chatgpt_node("b", "gone", chatgpt_message("b", "user", "b")),
    }
    found = convert(chatgpt_tree("c", mapping))
    assert links(found) == {"a": None, "b": "a"}
    assert found.notes == []


def test_a_chain_of_20_000() -> None:
    found = tree({str(n): str(n - 1) if n else None for n in range(20_000)}, current="19999")
    assert len(found.messages) == 20_000
    assert found.current_native_id == "19999"


def test_empty_nodes_are_spliced_out_anywhere() -> None:
    mapping = {
        "a": chatgpt_node("a", None, chatgpt_message("a", "user", "a")),
        "gap": chatgpt_node("gap", "a", chatgpt_message("gap", "assistant", "")),
        "nul": chatgpt_node("nul", "gap", None),
        "b": chatgpt_node("b", "nul", chatgpt_message("b", "assistant", "b")),
        "stopped": chatgpt_node("stopped", "b", chatgpt_message("stopped", "assistant", " ")),
    }
    found = convert(chatgpt_tree("c", mapping, "stopped"))
    assert links(found) == {"a": None, "b": "a"}
    assert found.current_native_id == "b"


@pytest.mark.parametrize("current", [None, "gone", 7, [], ""])
def test_the_newest_leaf_is_shown_where_the_file_does_not_say(current: Any) -> None:
    times = {"a": 0, "old": 9, "new": 20, "deep": 20, "deeper": 20}
    parents = {"a": None, "old": "a", "new": "a", "deep": "a", "deeper": "deep"}
    mapping = {
        id: chatgpt_node(id, parents[id], chatgpt_message(id, "user", id, time=JANUARY_2025 + times[id]))
        for id in parents
    }
    assert convert(chatgpt_tree("c", mapping, current)).current_native_id == "deeper"


NODE = st.sampled_from("abcdefgh")


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(NODE, st.tuples(NODE | st.none() | st.integers() | st.just("?"), st.lists(NODE), st.booleans())),
    NODE | st.none(),
)
def test_any_tree(nodes: dict[str, tuple[Any, list[str], bool]], current: str | None) -> None:
    mapping = {
        id: chatgpt_node(id, parent, chatgpt_message(id, "user", id if speaks else ""), children)
        for id, (parent, children, speaks) in nodes.items()
    }
    found = convert(chatgpt_tree("c", mapping, current))
    order = [message.native_id for message in found.messages]
    assert sorted(order) == sorted(id for id, (_, _, speaks) in nodes.items() if speaks)
    for at, message in enumerate(found.messages):
        assert message.parent_native_id is None or message.parent_native_id in order[:at]
    assert found.current_native_id in order or not order
    if current in order:
        assert found.current_native_id == current
