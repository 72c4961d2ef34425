from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from config.errors import PromptTooLong, ProviderRefused, ProviderUnavailable
from tests.servers import free_port
from tests.standins.openai_server import KEY, OpenAIServer
from tests.standins.openai_streams import Call
from tests.standins.server import Reply, sse
from tests.workers.llm.answers import Answer, ask, collect
from tests.workers.llm.manners import Manners
from tests.workers.llm.openai_house import WEATHER, opened, sent
from workers.llm.openai import THINKING_TOKENS, OpenAIModel
from workers.ports import ChatMessage, ChatRequest, Completion, Sampling, TokenLogprob, ToolCall


@pytest.fixture(scope="module")
def one_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture(params=["chat", "responses"])
def server(one_server: OpenAIServer, request: pytest.FixtureRequest) -> OpenAIServer:
    one_server.forget()
    one_server.refuses, one_server.api = set(), request.param
    return one_server


@pytest.fixture
def chat(one_server: OpenAIServer) -> OpenAIServer:
    """The server where the protocol does not matter."""
    one_server.forget()
    one_server.refuses, one_server.api = set(), "chat"
    return one_server


@pytest.fixture
def model(server: OpenAIServer) -> OpenAIModel:
    return opened(server)


@pytest.fixture
def stranger(server: OpenAIServer) -> OpenAIModel:
    return opened(server, openai_api_key="sk-somebody-elses-0123456789")


class TestManners(Manners):
    key = KEY


def test_a_model_that_thinks_is_given_room_and_no_temperature(server: OpenAIServer) -> None:
    model = opened(server, "o3", server.api)
    given = Sampling(0.2, max_tokens=100, stop=("A",), frequency_penalty=1.0, logit_bias={"1": 1.0}, logprobs=2)
    body = sent(server, model, ChatMessage("system", "Be brief."), ChatMessage("user", "Hi"), sampling=given)
    assert body["max_completion_tokens" if server.api == "chat" else "max_output_tokens"] == 100 + THINKING_TOKENS
    assert server.texts() == [("developer", "Be brief."), ("user", "Hi")]
    assert not body.keys() & {"temperature", "top_p", "stop", "frequency_penalty", "logit_bias", "top_logprobs"}


# --- what comes back


def _ask_tools(model: OpenAIModel) -> Answer:
    return collect(model, ChatRequest((ChatMessage("user", "Hi"),), tools=(WEATHER,)))


def test_tool_calls_are_put_together(server: OpenAIServer, model: OpenAIModel) -> None:
    calls = [Call("c1", "weather", ['{"ci', 'ty": "Kö', 'ln"}']), Call("c2", "weather", []), Call("c3", "time", ["{}"])]
    server.answers(server.says("Let me see.", calls=calls))
    answer = _ask_tools(model)
    assert answer.text == "Let me see."
    assert answer.end.finish_reason == "tool_calls"
    assert answer.end.tool_calls == (
        ToolCall("c1", "weather", {"city": "Köln"}), ToolCall("c2", "weather", {}), ToolCall("c3", "time", {}),
    )  # fmt: skip


def test_a_call_that_was_cut_off_by_the_limit_is_none(server: OpenAIServer, model: OpenAIModel) -> None:
    server.answers(server.says(calls=[Call("c1", "weather", ['{"ci'])], finish="length"))
    end = _ask_tools(model).end
    assert (end.finish_reason, end.tool_calls) == ("length", ())


def test_a_call_that_was_cut_off_by_the_network_is_asked_for_again(server: OpenAIServer, model: OpenAIModel) -> None:
    cut = Reply(server.begins("Let me see.", calls=[Call("c1", "weather", ['{"ci'])]), end="cut")
    server.answers(cut, server.says(calls=[Call("c2", "weather", ["{}"])]))
    answer = _ask_tools(model)
    assert answer.text == "Let me see."
    assert answer.end.tool_calls == (ToolCall("c2", "weather", {}),)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_why_an_answer_ended(server: OpenAIServer, model: OpenAIModel, reason: str) -> None:
    server.answers(server.says("One", finish=reason))
    assert ask(model).end.finish_reason == reason


def test_a_refusal_is_shown(server: OpenAIServer, model: OpenAIModel) -> None:
    server.answers(server.says(refusal="I cannot help with that."))
    assert ask(model).text == "I cannot help with that."


def test_tokens_that_were_cached_or_thought(server: OpenAIServer, model: OpenAIModel) -> None:
    usage = {
        "prompt_tokens": 50, "completion_tokens": 30, "total_tokens": 80,
        "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 20},
    }  # fmt: skip
    server.answers(server.says("One", usage=usage))
    assert ask(model).end == Completion("stop", 50, 30, cached_tokens=40, reasoning_tokens=20)


def test_tokens_that_nobody_counted(server: OpenAIServer, model: OpenAIModel) -> None:
    server.answers(server.says("One two three", usage=None))
    end = ask(model).end
    assert (end.prompt_tokens, end.completion_tokens) == (3, 4)


def test_log_probabilities(server: OpenAIServer, model: OpenAIModel) -> None:
    top = [("One", -0.1), ("Two", -2.5)]
    server.answers(server.says("One", logprobs={"One": top}))
    (delta,) = ask(model, logprobs=2).deltas
    assert delta.logprobs == (TokenLogprob("One", -0.1, tuple(top)),)
    assert server.asked[0].body["top_logprobs"] == 2
    assert not server.problems


# --- what goes wrong


def test_no_quota_is_final(server: OpenAIServer, model: OpenAIModel) -> None:
    server.answers(server.refused(429, "You exceeded your current quota.", "insufficient_quota", retry_after="0"))
    with pytest.raises(ProviderRefused, match=r"OpenAI refused the request: You exceeded your current quota\."):
        ask(model)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "context_length_exceeded", "Too much."),
        (400, None, "This model's maximum context length is 8192 tokens."),
        (400, None, "This model's maximum prompt length is 131072 but the request contains 200000 tokens."),
        (413, None, "The request exceeds the available context size."),
    ],
)
def test_a_prompt_that_the_provider_finds_too_long(
    server: OpenAIServer, model: OpenAIModel, status: int, code: str | None, words: str
) -> None:
    server.answers(server.refused(status, words, code))
    with pytest.raises(PromptTooLong):
        ask(model)


def test_a_key_that_may_not(server: OpenAIServer, model: OpenAIModel) -> None:
    server.answers(server.refused(403, "Project has no access to model."))
    with pytest.raises(ProviderRefused, match=r"did not accept the key \(OPENAI_API_KEY\) for this: Project has no"):
        ask(model)


def test_the_sentence_about_a_wrong_key(server: OpenAIServer, stranger: OpenAIModel) -> None:
    with pytest.raises(ProviderRefused) as raised:
        ask(stranger)
    assert raised.value.detail == "OpenAI did not accept the key (OPENAI_API_KEY)."


@pytest.mark.parametrize("status", [408, 409, 500, 529])
def test_what_may_pass_is_tried_again(server: OpenAIServer, model: OpenAIModel, status: int) -> None:
    server.answers(server.refused(status, "Not now", retry_after_ms="1"), server.says("Now."))
    assert ask(model).text == "Now."


def test_nobody_is_there() -> None:
    class Nowhere:
        api, url = "chat", f"http://127.0.0.1:{free_port()}"

    with pytest.raises(ProviderUnavailable, match=r"OpenAI cannot answer now: The connection failed\."):
        ask(opened(Nowhere(), provider_max_retries=0))  # type: ignore[arg-type]


def test_silence_is_not_waited_out_for_ever(server: OpenAIServer) -> None:
    model = opened(server, provider_silence_s=0.2)
    server.answers(Reply(server.begins("One"), end="silent"), server.says(" two"))
    assert ask(model).text == "One two"
    assert server.left.wait(2)


def _chat_error(**error: Any) -> bytes:
    return sse(None, {"error": {"message": "Oops", **error}})


def _failed(code: str) -> bytes:
    return sse("error", {"type": "error", "code": code, "message": "Oops", "param": None, "sequence_number": 9})


def test_an_error_in_the_middle_may_pass(server: OpenAIServer, model: OpenAIModel) -> None:
    broken = _chat_error(type="server_error") if server.api == "chat" else _failed("server_error")
    server.answers(server.begins("One") + broken, server.says(" two"))
    assert ask(model).text == "One two"


def test_an_error_in_the_middle_may_be_final(server: OpenAIServer, model: OpenAIModel) -> None:
    broken = _chat_error(code="invalid_prompt") if server.api == "chat" else _failed("invalid_prompt")
    server.answers(server.begins("One") + broken)
    with pytest.raises(ProviderRefused, match="Oops"):
        ask(model)


def test_an_address_that_is_none(chat: OpenAIServer) -> None:
    with pytest.raises(ProviderRefused, match="address"):
        opened(chat, openai_base_url="http://[")


# --- the SDK


def test_the_sdk_says_nothing_at_any_level(chat: OpenAIServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sent(chat, opened(chat), ChatMessage("user", "private words"))
    assert "private words" not in caplog.text
    assert not [record for record in caplog.records if record.name.split(".")[0] in ("openai", "httpx2", "httpcore2")]


def test_the_sdk_tries_once(chat: OpenAIServer) -> None:
    assert opened(chat)._client.max_retries == 0
    chat.answers(*[chat.refused(500, "Oops", retry_after="0")] * 5)
    with pytest.raises(ProviderUnavailable):
        ask(opened(chat, provider_max_retries=1))
    assert len(chat.asked) == 2


def test_the_sdk_is_the_official_one(chat: OpenAIServer) -> None:
    assert isinstance(opened(chat)._client, openai.OpenAI)


# --- many at once


def test_many_answers_of_one_model_keep_apart(chat: OpenAIServer) -> None:
    model = opened(chat)
    chat.answers(*[chat.says(*map(str, range(50)))] * 8)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(model).text)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == ["".join(map(str, range(50)))] * 8
