from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.catalogue import ModelSpec, ProviderSpec, providers
from config.errors import BackchannelError, ProviderRefused, ProviderUnavailable
from config.settings import Settings
from tests.servers import free_port
from tests.standins.openai_server import KEY, OpenAIServer
from tests.standins.server import Reply, sse
from tests.workers.llm.answers import ask, collect
from tests.workers.llm.manners import Manners
from workers.llm.compatible import CompatibleModel, list_models, open_model
from workers.ports import ChatMessage, ChatRequest, Tool, ToolCall

SPEC = ModelSpec("compatible", "tiny", "tiny", abilities=frozenset({"tools", "json_schema"}))


@pytest.fixture(scope="module")
def one_server() -> Iterator[OpenAIServer]:
    with OpenAIServer(strict=False) as server:
        yield server


@pytest.fixture
def server(one_server: OpenAIServer) -> OpenAIServer:
    one_server.forget()
    one_server.refuses, one_server.listing, one_server.key = set(), {"object": "list", "data": []}, KEY
    return one_server


def _provider(url: str, key: str = KEY) -> tuple[ProviderSpec, Settings]:
    settings = Settings(openai_compatible_url=url, openai_compatible_api_key=key, provider_max_retries=2)
    return providers(settings)["compatible"], settings


def _model(server: OpenAIServer, key: str = KEY) -> CompatibleModel:
    provider, settings = _provider(server.url, key)
    return open_model(provider, SPEC, settings)


@pytest.fixture
def model(server: OpenAIServer) -> CompatibleModel:
    return _model(server)


@pytest.fixture
def stranger(server: OpenAIServer) -> CompatibleModel:
    return _model(server, "sk-somebody-elses-0123456789")


class TestManners(Manners):
    key = KEY


# --- answers of servers that leave things out


def stream(*chunks: Any, done: bool = False) -> bytes:
    return b"".join(sse(None, chunk) for chunk in chunks) + (b"data: [DONE]\n\n" if done else b"")


def choice(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta, "finish_reason": finish}]}


@pytest.mark.parametrize(
    "body",
    [
        stream(choice(content="One"), choice("stop")),  # no id, no index, no role, no usage, no [DONE]
        stream(choice("stop", content="One")),
        stream(choice(role="assistant", content=None), choice(content="One"), choice("eos"), done=True),
        stream(choice(content="One"), choice("stop", content=None), {"choices": None}, {"choices": []}),
        stream(choice(reasoning_content="Hm."), choice(content="One", reasoning="Hm."), choice("stop", content="")),
        stream(choice(content=[{"type": "thinking", "thinking": []}, {"type": "text", "text": "One"}]), choice("stop")),
        b": ping\n\n" + stream({"choices": [{"delta": None, "finish_reason": None}]}, choice("stop", content="One")),
        stream(choice(content="One"), {"choices": [{"finish_reason": "stop"}], "timings": {"a": 1}}),
        stream(choice(content="One"), choice("stop")).replace(b"\n", b"\r\n"),
        stream(choice("stop", content="One"), {"choices": [], "usage": {"prompt_tokens": None}}),
        stream(choice("tool_calls", content="One")),  # says so, and calls none
    ],
)
def test_what_is_left_out_is_not_missed(server: OpenAIServer, model: CompatibleModel, body: bytes) -> None:
    server.answers(body)
    answer = ask(model)
    assert (answer.text, answer.end.finish_reason) == ("One", "stop")
    assert (answer.end.prompt_tokens, answer.end.completion_tokens) == (3, 1)


def fragment(**fields: Any) -> dict[str, Any]:
    return choice(tool_calls=[fields])


@pytest.mark.parametrize(
    "body",
    [
        stream(
            fragment(id="a", function={"name": "f", "arguments": '{"x":'}),
            fragment(function={"arguments": "1}"}),
            fragment(id="b", function={"name": "g", "arguments": None}),
            choice("stop"),
        ),
        stream(
            fragment(index=0, id="a", function={"name": "f", "arguments": {"x": 1}}),
            fragment(index=0, id="b", function={"name": "g"}),
            choice("tool_calls"),
        ),
        stream(
            fragment(index=3, id="a", function={"name": "f"}),
            fragment(index=3, id="a", function={"name": "f", "arguments": '{"x":1}'}),
            fragment(index=5, id="b", function={"name": "g", "arguments": ""}),
            choice("function_call"),
        ),
    ],
)
def test_tool_calls_in_many_ways(server: OpenAIServer, model: CompatibleModel, body: bytes) -> None:
    server.answers(body)
    answer = collect(model, ChatRequest((ChatMessage("user", "Hi"),), tools=(Tool("f", "", {}),)))
    assert answer.end.finish_reason == "tool_calls"
    assert answer.end.tool_calls == (ToolCall("a", "f", {"x": 1}), ToolCall("b", "g", {}))


def test_a_call_without_an_id_gets_one(server: OpenAIServer, model: CompatibleModel) -> None:
    server.answers(stream(fragment(index=0, function={"name": "f", "arguments": "{}"}), choice("stop")))
    (call,) = ask(model).end.tool_calls
    assert call.id.startswith("call_")


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_server_that_gives_up_is_asked_to_go_on(server: OpenAIServer, model: CompatibleModel, reason: str) -> None:
    server.answers(stream(choice(content="One"), choice(reason)), stream(choice("stop", content=" two")))
    assert ask(model).text == "One two"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "delta", "content", "tool_calls", "function", "index", "id", "usage", "finish_reason", "error",
             "logprobs", "message", "arguments", "name", "prompt_tokens"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_JSON)
def test_whatever_is_sent_is_an_answer_or_an_error_of_ours(server: OpenAIServer, odd: Any) -> None:
    server.forget()
    provider, settings = _provider(server.url)
    model = open_model(provider, SPEC, settings.model_copy(update={"provider_max_retries": 0}))
    server.answers(sse(None, odd) + sse(None, {"choices": [odd]}) + stream(choice("stop", content="One")))
    with suppress(BackchannelError):
        assert isinstance(ask(model).text, str)


def test_what_it_is_asked(server: OpenAIServer, model: CompatibleModel) -> None:
    server.answers(server.says("One"))
    ask(model, temperature=0.0, max_tokens=30)
    assert server.asked[0].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hello there"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 30,
        "temperature": 0.0,
        "top_p": 0.95,
    }


@pytest.mark.parametrize(
    "body",
    [
        b'{"detail": "Extra inputs are not permitted: stream_options"}',
        b'{"error": {"message": "unknown field", "param": "stream_options"}}',
        b'{"message": "json: unknown field \\"stream_options\\""}',
        b'{"error": "stream_options is not supported"}',
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_usage_is_not_insisted_on(server: OpenAIServer, model: CompatibleModel, body: bytes, status: int) -> None:
    server.answers(Reply(body, status), server.says("One", usage=None))
    assert ask(model).text == "One"
    assert "stream_options" not in server.asked[1].body


def test_without_a_key_none_of_ours_is_sent(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.key = ""
    server.answers(server.says("One"))
    assert ask(_model(server, key="")).text == "One"
    assert "authorization" not in {name.lower() for name in server.asked[0].headers}


# --- which models it has


@pytest.mark.parametrize(
    ("told", "window", "output"),
    [
        ({"max_model_len": 32768}, 32768, 32768),  # vLLM
        ({"meta": {"n_ctx_train": 131072, "n_params": 5}}, 131072, 131072),  # llama-server
        ({"meta": {"n_ctx_train": 131072, "n_ctx": 4096}}, 4096, 4096),
        ({"context_length": 200000, "top_provider": {"max_completion_tokens": 8000}}, 200000, 8000),  # OpenRouter
        ({"context_window": 131072, "max_completion_tokens": 32768}, 131072, 32768),  # Groq
        ({"max_context_length": 32768, "loaded_context_length": 8000}, 8000, 8000),  # LM Studio
        ({"max_model_len": 2048, "max_completion_tokens": 99999}, 2048, 2048),
    ],
)
def test_windows_that_servers_tell(server: OpenAIServer, told: dict[str, Any], window: int, output: int) -> None:
    server.listing = {"object": "list", "data": [{"id": "org/tiny", "object": "model", **told}]}
    (spec,) = list_models(*_provider(server.url))
    assert (spec.id, spec.provider, spec.context_tokens, spec.output_tokens) == (
        "org/tiny",
        "compatible",
        window,
        output,
    )
    assert spec.abilities == {"tools", "json_schema"}


@pytest.mark.parametrize("told", [{}, {"max_model_len": None}, {"max_model_len": "big"}, {"meta": 5}, {"n_ctx": True}])
def test_a_window_that_nobody_tells(server: OpenAIServer, told: dict[str, Any]) -> None:
    server.listing = {"data": [{"id": "tiny", **told}, {"id": ""}, {"id": 5}, {"id": "tiny"}, {"name": "x"}]}
    (spec,) = list_models(*_provider(server.url))
    assert (spec.id, spec.context_tokens, spec.output_tokens) == ("tiny", 8192, 4096)


@pytest.mark.parametrize(
    "listing",
    [b"<html>", b"", b"[]", b"5", b'{"models": []}', b'{"data": null}', b'{"data": [5]}', b'{"data": {"a": 1}}', b"{"],
)
def test_a_list_that_is_none(server: OpenAIServer, listing: bytes) -> None:
    server.listing = listing
    with pytest.raises(ProviderUnavailable, match="cannot be read"):
        list_models(*_provider(server.url))


def test_nobody_lists() -> None:
    with pytest.raises(ProviderUnavailable, match=r"cannot list its models now: The connection failed\."):
        list_models(*_provider(f"http://127.0.0.1:{free_port()}"))


def test_who_may_not_ask_for_the_list(server: OpenAIServer) -> None:
    with pytest.raises(ProviderRefused, match="OPENAI_COMPATIBLE_API_KEY"):
        list_models(*_provider(server.url, "sk-somebody-elses-0123456789"))


def test_the_address_with_and_without_a_version(server: OpenAIServer) -> None:
    server.listing = {"data": [{"id": "tiny"}]}
    for url in (server.url, f"{server.url}/", f"{server.url}/v1", f"{server.url}/v1/"):
        assert [spec.id for spec in list_models(*_provider(url))] == ["tiny"]
    assert {asked.path for asked in server.asked} == {"/v1/models"}


def test_a_list_is_json_however_it_is_called(server: OpenAIServer) -> None:
    server.answers(Reply(json.dumps({"data": [{"id": "tiny"}]}).encode(), headers={"Content-Type": "text/plain"}))
    assert [spec.id for spec in list_models(*_provider(server.url))] == ["tiny"]
