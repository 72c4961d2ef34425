from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.errors import ProviderRefused
from tests.standins.openai_server import OpenAIServer
from tests.standins.server import Reply
from tests.workers.llm.answers import ask, collect
from tests.workers.llm.openai_house import CALLED, WEATHER, opened, sent
from workers.llm.shapes import NO_RESULT
from workers.ports import ChatMessage, ChatRequest, Sampling


@pytest.fixture(scope="module")
def one_server() -> Iterator[OpenAIServer]:
    with OpenAIServer("chat") as server:
        yield server


@pytest.fixture
def server(one_server: OpenAIServer) -> OpenAIServer:
    one_server.forget()
    one_server.refuses = set()
    return one_server


def test_sampling_in_chat_completions(server: OpenAIServer) -> None:
    drawing = Sampling(
        0.2, 0.9, seed=7, max_tokens=99, stop=("A", "B"), frequency_penalty=0.5, presence_penalty=-0.5,
        logit_bias={"42": 500.0},
    )  # fmt: skip
    body = sent(server, opened(server), sampling=drawing)
    assert body == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 99,
        "temperature": 0.2,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["A", "B"],
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "logit_bias": {"42": 100.0},
    }


def test_only_four_stop_strings_are_sent_and_all_are_kept(server: OpenAIServer) -> None:
    server.answers(server.says("one F", "IVE two"))
    answer = ask(opened(server), stop=("A", "B", "C", "D", "FIVE"))
    assert (answer.text, answer.end.finish_reason) == ("one ", "stop")
    assert server.asked[0].body["stop"] == ["A", "B", "C", "D"]


def test_tools_in_chat_completions(server: OpenAIServer) -> None:
    body = sent(server, opened(server), *CALLED, tools=(WEATHER,))
    function = {"name": "weather", "description": "Tells the weather.", "parameters": WEATHER.parameters}
    assert body["tools"] == [{"type": "function", "function": function}]
    named = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
    assert body["messages"][2:] == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": [named]},
        {"role": "tool", "tool_call_id": "c1", "content": "Rain"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c2", "content": NO_RESULT},
    ]


def test_a_field_that_is_not_taken_is_left_out_from_then_on(server: OpenAIServer) -> None:
    server.refuses = {"stream_options", "seed"}
    model = opened(server)
    server.answers(server.says("One"), server.says("Two"))
    assert (ask(model, seed=1).text, ask(model, seed=1).text) == ("One", "Two")
    assert len(server.asked) == 4
    assert not {"stream_options", "seed"} & server.asked[-1].body.keys()


def test_a_field_that_is_needed_is_not_left_out(server: OpenAIServer) -> None:
    server.refuses = {"tools"}
    with pytest.raises(ProviderRefused, match="tools"):
        collect(opened(server), ChatRequest((ChatMessage("user", "Hi"),), tools=(WEATHER,)))
    assert len(server.asked) == 1


def test_all_was_said_when_only_the_good_bye_is_cut(server: OpenAIServer) -> None:
    whole = server.says("One", usage=None).removesuffix(b"data: [DONE]\n\n")
    server.answers(Reply(whole, end="cut"))
    assert ask(opened(server)).text == "One"
    assert len(server.asked) == 1
