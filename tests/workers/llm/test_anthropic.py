from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from config.catalogue import providers
from config.errors import PromptTooLong, ProviderRefused, Unusable
from config.settings import Settings
from tests.standins.anthropic_server import KEY, AnthropicServer
from tests.standins.server import Reply
from tests.workers.llm.answers import ask, collect
from tests.workers.llm.manners import Manners
from workers.llm.anthropic import AnthropicModel, open_model
from workers.llm.prompt import PREAMBLE
from workers.llm.shapes import LEFT_OUT, NO_RESULT
from workers.ports import Attachment, ChatMessage, ChatRequest, Passage, Sampling, Tool, ToolCall

WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture(scope="module")
def one_server() -> Iterator[AnthropicServer]:
    with AnthropicServer() as server:
        yield server


@pytest.fixture
def server(one_server: AnthropicServer) -> AnthropicServer:
    one_server.forget()
    return one_server


def _model(server: AnthropicServer, name: str = "claude-sonnet-4", key: str = KEY) -> AnthropicModel:
    settings = Settings(anthropic_api_key=key, anthropic_base_url=server.url, provider_max_retries=2)
    provider = providers(settings)["anthropic"]
    return open_model(provider, provider.models[name], settings)


@pytest.fixture
def model(server: AnthropicServer) -> AnthropicModel:
    return _model(server)


@pytest.fixture
def stranger(server: AnthropicServer) -> AnthropicModel:
    return _model(server, key="sk-ant-api03-somebody-elses-key")


class TestManners(Manners):
    key = KEY


def _asked(server: AnthropicServer, model: AnthropicModel, *messages: ChatMessage, **more: Any) -> dict[str, Any]:
    """The body that was sent for these messages."""
    server.answers(server.says("Yes."))
    collect(model, ChatRequest(messages, **more))
    assert not server.problems
    return dict(server.asked[-1].body)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


# --- what is sent


def test_the_system_prompt_is_apart_and_who_says_nothing_is_left_out(server: Any, model: AnthropicModel) -> None:
    body = _asked(
        server,
        model,
        ChatMessage("system", "Be brief. "),
        ChatMessage("assistant", "Welcome."),
        ChatMessage("user", "  "),
        ChatMessage("assistant", "Still there?"),
        ChatMessage("system", "Be kind."),
        ChatMessage("user", "Yes."),
        ChatMessage("user", "And you?"),
    )
    assert body["system"] == "Be brief.\n\nBe kind."
    assert body["messages"] == [
        {"role": "user", "content": [_text(LEFT_OUT)]},
        {"role": "assistant", "content": [_text("Welcome."), _text("Still there?")]},
        {"role": "user", "content": [_text("Yes."), _text("And you?") | {"cache_control": {"type": "ephemeral"}}]},
    ]


def test_a_system_prompt_alone_is_the_question(server: Any, model: AnthropicModel) -> None:
    body = _asked(server, model, ChatMessage("system", "Say hello."))
    assert "system" not in body
    assert body["messages"] == [{"role": "user", "content": [_text("Say hello.")]}]


def test_tools_and_their_results_go_there_and_back(server: Any, model: AnthropicModel) -> None:
    call = {"id": "toolu_1", "name": "weather", "parts": ['{"ci', 'ty": "Köln"', "}"]}
    other = {"id": "toolu_2", "name": "weather", "parts": []}
    server.answers(server.says("Let me see.", reason="tool_use", calls=(call, other)))
    question = ChatMessage("user", "Weather?")
    first = collect(model, ChatRequest((question,), tools=(WEATHER,)))
    assert first.end.finish_reason == "tool_calls"
    assert first.end.tool_calls == (
        ToolCall("toolu_1", "weather", {"city": "Köln"}),
        ToolCall("toolu_2", "weather", {}),
    )
    schema = server.asked[-1].body["tools"]
    assert schema == [{"name": "weather", "description": "Tells the weather.", "input_schema": WEATHER.parameters}]

    body = _asked(
        server,
        model,
        question,
        ChatMessage("assistant", first.text, tool_calls=first.end.tool_calls),
        ChatMessage("tool", "Here.", tool_call_id="toolu_2"),
        ChatMessage("tool", "Rain.", tool_call_id="toolu_1"),
        tools=(WEATHER,),
    )
    results = body["messages"][2]
    assert results["role"] == "user"
    assert [(one["type"], one["tool_use_id"], one["content"]) for one in results["content"]] == [
        ("tool_result", "toolu_1", [_text("Rain.")]),
        ("tool_result", "toolu_2", [_text("Here.")]),
    ]


def test_calls_and_results_that_lost_each_other_are_not_refused(server: Any, model: AnthropicModel) -> None:
    body = _asked(
        server,
        model,
        ChatMessage("tool", "Rain.", tool_call_id="gone"),
        ChatMessage("assistant", "", tool_calls=(ToolCall("call|1", "weather", {}),)),
        ChatMessage("user", "Well?"),
    )
    begin, call, end = body["messages"]
    assert "Rain." in begin["content"][0]["text"]
    assert call["content"] == [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}]
    assert end["content"][0] == {"type": "tool_result", "tool_use_id": "call_1", "content": [_text(NO_RESULT)]}
    assert body["tool_choice"] == {"type": "none"}, "calls in the history need tools, but none was offered"


def test_files_come_before_the_question(server: Any, model: AnthropicModel) -> None:
    files = (
        Attachment("image/png", b"\x89PNG"),
        Attachment("application/pdf", b"%PDF-1.7", "paper.pdf"),
    )
    body = _asked(server, model, ChatMessage("user", "What is this?", files))
    picture, paper, question = body["messages"][0]["content"]
    assert base64.b64decode(picture["source"]["data"]) == b"\x89PNG"
    assert (paper["type"], paper["title"], paper["source"]["media_type"]) == (
        "document",
        "paper.pdf",
        "application/pdf",
    )
    assert question == _text("What is this?")


def test_a_file_of_the_assistants_is_left_out(server: Any, model: AnthropicModel) -> None:
    drawn = ChatMessage("assistant", "", (Attachment("image/png", b"\x89PNG"),))
    body = _asked(server, model, ChatMessage("user", "Draw."), drawn, ChatMessage("user", "Thanks."))
    assert body["messages"][1]["content"] == [_text(LEFT_OUT)]


def test_a_picture_that_claude_cannot_see_is_refused_before_it_is_sent(server: Any, model: AnthropicModel) -> None:
    message = ChatMessage("user", "What is this?", (Attachment("image/tiff", b"II*"),))
    with pytest.raises(Unusable, match="image/tiff"):
        collect(model, ChatRequest((message,)))
    assert not server.asked


@pytest.mark.parametrize(
    ("sampling", "sent"),
    [
        (Sampling(temperature=1.7), {"temperature": 1.0, "top_k": 40}),
        (Sampling(temperature=0.0, top_k=0), {"temperature": 0.0}),
        (Sampling(top_p=0.5), {"top_p": 0.5, "top_k": 40}),
        (Sampling(temperature=0.2, top_p=0.5), {"temperature": 0.2, "top_k": 40}),
    ],
)
def test_how_tokens_are_drawn(server: Any, model: AnthropicModel, sampling: Sampling, sent: dict[str, float]) -> None:
    body = _asked(server, model, ChatMessage("user", "Hi"), sampling=sampling)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == sent


def test_an_answer_is_no_longer_than_the_model_can(server: Any) -> None:
    haiku = _model(server, "claude-3.5-haiku")
    body = _asked(server, haiku, ChatMessage("user", "Hi"), sampling=Sampling(max_tokens=1_000_000, stop=("\n", "END")))
    assert body["model"] == "claude-3-5-haiku-20241022"
    assert body["max_tokens"] == 8192
    assert body["stop_sequences"] == ["END"]


def test_only_a_history_that_comes_again_is_cached(server: Any, model: AnthropicModel) -> None:
    history = (ChatMessage("user", "Hi"), ChatMessage("assistant", "Hello."), ChatMessage("user", "And now?"))
    passage = Passage("The sky is blue.", "c1", "Sky", None, 0.9)
    assert "cache_control" in str(_asked(server, model, *history))
    assert "cache_control" not in str(_asked(server, model, history[0]))
    searched = _asked(server, model, *history, passages=(passage,))
    assert PREAMBLE in searched["system"]
    assert "cache_control" not in str(searched)


def test_json_by_a_schema_where_the_model_has_it(server: Any, model: AnthropicModel) -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    haiku = _model(server, "claude-haiku-4.5")
    body = _asked(server, haiku, ChatMessage("user", "a?"), sampling=Sampling(response_format=form))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    with pytest.raises(Unusable, match="JSON schemas"):
        collect(model, ChatRequest((ChatMessage("user", "a?"),), sampling=Sampling(response_format=form)))


def test_any_json_is_asked_for_in_words(server: Any) -> None:
    form = {"type": "json_object"}
    haiku = _model(server, "claude-haiku-4.5")
    body = _asked(server, haiku, ChatMessage("user", "a?"), sampling=Sampling(response_format=form))
    assert "one JSON object" in body["system"]
    assert "output_config" not in body


def test_json_that_was_begun_goes_on(server: Any) -> None:
    haiku = _model(server, "claude-haiku-4.5")
    server.answers(server.says("1}"))
    form = {"type": "json_schema", "schema": SCHEMA}
    assert ask(haiku, response_format=form, resume=('{"a": ', ())).text == "1}"
    assert not server.problems, "a beginning and a schema exclude each other"


def test_a_model_that_thinks_is_not_told_how(server: Any) -> None:
    thinker = _model(server, "claude-sonnet-5.5")
    body = _asked(server, thinker, ChatMessage("user", "Hi"), sampling=Sampling(max_tokens=100))
    assert not body.keys() & {"temperature", "top_p", "top_k"}
    assert body["max_tokens"] == 100 + thinker.thinking_tokens, "thoughts count too"
    server.answers(server.says("three"))
    assert ask(thinker, resume=("One, two, ", ())).text == "three"
    assert server.asked[-1].body["messages"][-1]["role"] == "user", "it refuses an answer's beginning"


def test_a_grammar_is_refused(model: AnthropicModel) -> None:
    with pytest.raises(Unusable, match="grammars"):
        ask(model, response_format={"type": "grammar", "grammar": 'root ::= "a"'})


# --- what comes back


def test_cached_tokens_are_the_prompts_too(server: Any, model: AnthropicModel) -> None:
    server.answers(server.says("Yes.", output_tokens=9, output_tokens_details={"thinking_tokens": 2}))
    end = ask(model).end
    assert (end.prompt_tokens, end.cached_tokens, end.completion_tokens, end.reasoning_tokens) == (19, 5, 9, 2)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop"),
        ("refusal", "content_filter"),
    ],
)
def test_why_it_ended(server: Any, model: AnthropicModel, told: str, reason: str) -> None:
    server.answers(server.says("Well", reason=told))
    assert ask(model).end.finish_reason == reason


def test_an_overload_in_the_middle_is_gone_on_after(server: Any, model: AnthropicModel) -> None:
    server.answers(
        server.begins("The sky ") + server.error_event("overloaded_error", "Overloaded"), server.says("is blue.")
    )
    assert ask(model).text == "The sky is blue."
    last = server.asked[1].body["messages"][-1]
    assert last == {"role": "assistant", "content": [_text("The sky")]}
    assert not server.problems


def test_an_error_event_that_is_no_json_is_gone_on_after(server: Any, model: AnthropicModel) -> None:
    server.answers(server.begins("The sky ") + b"event: error\ndata: {oops\n\n", server.says("is blue."))
    assert ask(model).text == "The sky is blue."


def test_an_error_in_the_middle_that_stays_is_told(server: Any, model: AnthropicModel) -> None:
    server.answers(server.begins("The sky ") + server.error_event("invalid_request_error", "No such thing"))
    with pytest.raises(ProviderRefused, match="No such thing"):
        ask(model)


@pytest.mark.parametrize(
    "refusal",
    [
        (400, "prompt is too long: 214315 tokens > 200000 maximum"),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
        (413, "Request exceeds the maximum allowed number of bytes."),
    ],
)
def test_a_prompt_that_is_too_long_says_so(server: Any, model: AnthropicModel, refusal: tuple[int, str]) -> None:
    server.answers(server.refused(*refusal))
    with pytest.raises(PromptTooLong):
        ask(model)


def test_an_overloaded_server_is_asked_again(server: Any, model: AnthropicModel) -> None:
    server.answers(server.refused(529, "Overloaded", retry_after="0"), server.says("Here."))
    assert ask(model).text == "Here."


def test_a_call_that_was_cut_is_asked_for_again(server: Any, model: AnthropicModel) -> None:
    call = {"id": "toolu_1", "name": "weather", "parts": ['{"city": "Kö']}
    whole = call | {"parts": ['{"city": "Köln"}']}
    body = server.says(reason="tool_use", calls=(call,))
    server.answers(
        Reply(body[: body.index(b"message_delta")], end="cut"), server.says(reason="tool_use", calls=(whole,))
    )
    request = ChatRequest((ChatMessage("user", "Weather?"),), tools=(WEATHER,))
    assert collect(model, request).end.tool_calls == (ToolCall("toolu_1", "weather", {"city": "Köln"}),)


def test_a_call_that_ran_out_of_tokens_is_no_call(server: Any, model: AnthropicModel) -> None:
    call = {"id": "toolu_1", "name": "weather", "parts": ['{"city": "Kö']}
    server.answers(server.says("Let me see.", reason="max_tokens", calls=(call,)))
    end = collect(model, ChatRequest((ChatMessage("user", "Weather?"),), tools=(WEATHER,))).end
    assert (end.finish_reason, end.tool_calls) == ("length", ())
