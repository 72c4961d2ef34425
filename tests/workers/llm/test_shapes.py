from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.llm.shapes import LEFT_OUT, NO_RESULT, in_turns, new_call_id, paired, schema_of
from workers.ports import ChatMessage, Sampling, ToolCall

_IDS = st.sampled_from("abc")
_CALLS = st.lists(_IDS, max_size=3, unique=True).map(lambda ids: tuple(ToolCall(one, "look", {}) for one in ids))
_TEXTS = st.sampled_from(["", "  ", "hello"])
_MESSAGES = st.lists(
    st.one_of(
        st.builds(ChatMessage, st.sampled_from(["system", "user"]), _TEXTS),
        st.builds(ChatMessage, st.just("assistant"), _TEXTS, tool_calls=_CALLS),
        st.builds(ChatMessage, st.just("tool"), st.just("a result"), tool_call_id=_IDS),
    ),
    max_size=12,
)


def _tool(call_id: str, text: str) -> ChatMessage:
    return ChatMessage("tool", text, tool_call_id=call_id)


def test_results_follow_their_calls_in_order() -> None:
    asking = ChatMessage("assistant", "", tool_calls=(ToolCall("a", "look", {}), ToolCall("b", "look", {})))
    lost, late = _tool("c", "lost"), ChatMessage("user", "And?")
    found = list(paired((asking, _tool("b", "two"), lost, late, _tool("a", "too late"))))
    assert found[:3] == [asking, _tool("a", NO_RESULT), _tool("b", "two")]
    assert [(one.role, one.content) for one in found[3:]] == [
        ("user", "A tool's result:\nlost"),
        ("user", "And?"),
        ("user", "A tool's result:\ntoo late"),
    ]


def test_an_id_that_is_used_again_is_another_call() -> None:
    call = ChatMessage("assistant", "", tool_calls=(ToolCall("a", "look", {}),))
    messages = (call, _tool("a", "one"), call, _tool("a", "two"))
    assert tuple(paired(messages)) == messages


@given(_MESSAGES)
def test_whatever_the_history_calls_and_results_match(messages: list[ChatMessage]) -> None:
    waiting: list[str | None] = []
    for message in paired(messages):
        if waiting:
            assert (message.role, message.tool_call_id) == ("tool", waiting.pop(0))
        else:
            assert message.role != "tool"
            waiting = [call.id for call in message.tool_calls]
    assert not waiting


@given(_MESSAGES)
def test_whatever_the_history_turns_alternate(messages: list[ChatMessage]) -> None:
    _, turns = in_turns(messages)
    roles = [role for role, _ in turns]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    assert roles
    said = [one for _, group in turns for one in group]
    assert all(group for _, group in turns)
    assert all(one.content.strip() or one.tool_calls for one in said)
    results = sum(one.content == "a result" for one in messages)
    assert sum("a result" in one.content for one in said) == results, "none is lost"


def test_an_empty_history_still_asks_something() -> None:
    assert in_turns(()) == ("", [("user", [ChatMessage("user", LEFT_OUT)])])


def test_schemas() -> None:
    assert schema_of(Sampling()) is None
    assert schema_of(Sampling(response_format={"type": "json_object"})) == {}
    assert schema_of(Sampling(response_format={"type": "json_schema", "schema": {"type": "array"}})) == {
        "type": "array"
    }
    assert schema_of(Sampling(response_format={"type": "grammar", "grammar": 'root ::= "a"'})) is None


def test_call_ids_are_new() -> None:
    assert len({new_call_id() for _ in range(100)}) == 100
