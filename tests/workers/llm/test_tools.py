"""Models decoded here use tools through a grammar: whatever they draw can be read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import Unusable
from tests.workers.llm.answers import Answer, collect
from workers.llm import tools
from workers.llm.grammar import grammar_of
from workers.llm.local import LocalModel
from workers.ports import ChatMessage, ChatRequest, Completion, Delta, Sampling, Tool, ToolCall

UPDATE = Tool(
    "update_project_draft",
    "Changes the draft.",
    {
        "type": "object",
        "properties": {
            "title": {"type": "string", "maxLength": 12},
            "description": {"type": "string", "maxLength": 20},
        },
        "required": ["title", "description"],
        "additionalProperties": False,
    },
)
OTHER = Tool("other", "Does nothing.", {"type": "object", "properties": {}, "additionalProperties": False})
# Token ids are of no use here, so that which answer a random model gives is drawn by its seed.
DRAWN = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def request(max_tokens: int = 120, resume: str = "", **sampling: object) -> ChatRequest:
    return ChatRequest(
        (ChatMessage("user", "Do something"),),
        sampling=Sampling(**{"temperature": 0.0, "max_tokens": max_tokens, **sampling}),  # type: ignore[arg-type]
        tools=(UPDATE, OTHER),
        resume_text=resume,
    )


def spoken(document: str, said: str = "", reason: str = "stop", cuts: int = 3, stop: tuple[str, ...] = ()) -> Answer:
    """What is told of a model that writes this."""
    pieces = [Delta(document[start : start + cuts], (start,)) for start in range(0, len(document), cuts)]
    *deltas, end = tools.Told(said, stop).items([*pieces, Completion(reason, 5, 9)])  # type: ignore[arg-type]
    return Answer(tuple(deltas), end)  # type: ignore[arg-type]


def test_whatever_a_model_draws_is_a_text_or_a_call(tiny: LocalModel) -> None:
    seen = set()
    for seed in range(24):
        answer = collect(tiny, request(seed=seed, **DRAWN))
        (call,) = answer.end.tool_calls or (None,)
        if call is None:
            assert answer.end.finish_reason in ("stop", "length")
            continue
        seen.add(call.name)
        assert (answer.text, answer.end.finish_reason) == ("", "tool_calls")
        if call.name == "other":
            assert call.arguments == {}
        elif "_unparsed" not in call.arguments:  # half a character may be drawn, too
            assert call.arguments.keys() == {"title", "description"}
            assert len(call.arguments["title"]) <= 12
    assert seen, "no seed drew a call"


def test_what_it_says_streams(tiny: LocalModel) -> None:
    """A resumed text is one whatever the model would rather have done."""
    answer = collect(tiny, request(resume='I said "this"\n', max_tokens=60))
    assert len(answer.deltas) > 3
    assert answer.tokens == ()


def test_a_text_is_gone_on_with_where_it_stopped() -> None:
    whole = spoken('{"say": "It is \\"done\\" \\u00e4."}')
    assert (whole.text, whole.end.finish_reason, whole.end.tool_calls) == ('It is "done" ä.', "stop", ())
    assert len(whole.deltas) > 3
    asked = tools.in_words(request(resume='It "is'))
    assert asked.resume_text == '{"say": "It \\"is'
    rest = spoken(' done"}', 'It "is')
    assert (rest.text, rest.end.finish_reason) == (" done", "stop")


@given(said=st.text(), rest=st.text(), cuts=st.integers(1, 5))
def test_no_text_is_lost_or_told_twice(said: str, rest: str, cuts: int) -> None:
    document = json.dumps({"say": said + rest}, ensure_ascii=False)
    begun = tools.in_words(request(resume=said)).resume_text or '{"say": "'
    if "\x7f" in said or not document.startswith(begun):
        return
    prefix = "" if said else begun
    assert spoken(prefix + document[len(begun) :], said, cuts=cuts).text == rest


@given(
    text=st.text('ab"\\ ', max_size=30),
    stop=st.lists(st.text('ab"', min_size=1, max_size=3), min_size=1, max_size=2),
    cuts=st.integers(1, 9),
)
def test_no_stop_string_is_shown_and_nothing_behind_it(text: str, stop: list[str], cuts: int) -> None:
    """They are looked for in what is said, not in the JSON that says it."""
    found = [(place + len(one), place) for one in stop if (place := text.find(one)) >= 0]
    answer = spoken(json.dumps({"say": text}), reason="length", cuts=cuts, stop=tuple(stop))
    assert answer.text == text[: min(found, default=(0, len(text)))[1]]
    assert answer.end.finish_reason == ("stop" if found else "length")


def test_a_stop_string_ends_the_decoding(tiny: LocalModel) -> None:
    whole = collect(tiny, request(resume="I said", max_tokens=60))
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 3]
    stopped = collect(tiny, request(resume="I said", max_tokens=60, stop=(stop,)))
    assert (stopped.text, stopped.end.finish_reason) == (whole.text[: whole.text.find(stop)], "stop")
    assert stopped.end.completion_tokens < whole.end.completion_tokens
    assert stopped.end.prompt_tokens == whole.end.prompt_tokens


def test_what_had_stopped_is_gone_on_with_by_nothing(tiny: LocalModel) -> None:
    answer = collect(tiny, request(resume="I said END", stop=("END",)))
    assert (answer.text, answer.end.finish_reason) == ("", "stop")


def test_an_argument_may_hold_a_stop_string() -> None:
    answer = spoken('{"tool": "other", "arguments": {"say": "no END"}}', stop=("END", "{"))
    assert answer.end.finish_reason == "tool_calls"


def test_log_probabilities_are_refused(tiny: LocalModel) -> None:
    with pytest.raises(Unusable, match="log-probabilities"):
        list(tiny.stream(request(logprobs=1), lambda: False))


def test_a_call_is_told_at_the_end() -> None:
    answer = spoken('{"tool": "other", "arguments": {"say": "no"}}')
    (call,) = answer.end.tool_calls
    assert (answer.deltas, answer.end.finish_reason) == ((), "tool_calls")
    assert (call.name, call.arguments) == ("other", {"say": "no"})
    assert call.id.startswith("call_")


def test_a_call_that_was_cut_off_is_none() -> None:
    answer = spoken('{"tool": "other", "argu', reason="length")
    assert (answer.deltas, answer.end) == ((), Completion("length", 5, 9))


def test_half_a_character_in_a_call_reaches_nobody() -> None:
    (call,) = spoken('{"tool": "other", "arguments": {"a": "\\ud800"}}').end.tool_calls
    assert list(call.arguments) == ["_unparsed"]
    json.dumps(call.arguments).encode()


def test_tools_are_described_and_earlier_calls_told() -> None:
    messages = (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "Change it"),
        ChatMessage("assistant", "Well.", tool_calls=(ToolCall("c1", "other", {"a": 1}),)),
        ChatMessage("tool", "Done.", tool_call_id="c1"),
    )
    asked = tools.in_words(ChatRequest(messages, tools=(OTHER,)))
    assert not asked.tools
    system, user, call, result = asked.messages
    assert system.content.startswith("Be brief.\n\nAnswer with one JSON object")
    assert '"name": "other"' in system.content
    assert user.content == "Change it"
    assert (call.role, call.content) == ("assistant", 'Well.\n{"tool": "other", "arguments": {"a": 1}}')
    assert (result.role, result.content) == ("user", "Result of other: Done.")


def test_calls_in_the_history_are_told_without_tools_too(tiny: LocalModel) -> None:
    messages = (
        ChatMessage("user", "Change it"),
        ChatMessage("assistant", "", tool_calls=(ToolCall("c1", "other", {}),)),
        ChatMessage("tool", "Done.", tool_call_id="c1"),
    )
    answer = collect(tiny, ChatRequest(messages, sampling=Sampling(temperature=0, max_tokens=10)))
    assert answer.end.completion_tokens == 10
    assert len(answer.tokens) == 10


@settings(max_examples=30, deadline=None)
@given(name=st.text(min_size=1, max_size=8), schema=st.sampled_from([{}, {"type": "object"}, UPDATE.parameters]))
def test_every_tool_makes_a_grammar(name: str, schema: dict[str, object]) -> None:
    form = {"type": "json_schema", "schema": tools.schema_of([Tool(name, "", schema)])}
    assert "root ::=" in (grammar_of(form) or "")


def test_an_answer_in_a_format_of_its_own_has_no_tools(tiny: LocalModel) -> None:
    with pytest.raises(Unusable, match="cannot use tools"):
        list(tiny.stream(request(response_format={"type": "json_object"}), lambda: False))


def test_a_cancel_is_seen(tiny: LocalModel) -> None:
    *_, end = tiny.stream(request(), lambda: True)
    assert isinstance(end, Completion)
    assert end.finish_reason == "cancelled"
