from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config.catalogue import providers
from config.errors import ProviderRefused
from config.settings import Settings
from tests.standins.openai_server import OpenAIServer
from tests.standins.server import Reply, sse
from tests.workers.llm.answers import ask
from tests.workers.llm.manners import Manners
from workers.llm.xai import XaiModel, open_model

KEY = "xai-standin-0123456789abcdefghij"


@pytest.fixture(scope="module")
def one_server() -> Iterator[OpenAIServer]:
    with OpenAIServer(key=KEY) as server:
        yield server


@pytest.fixture
def server(one_server: OpenAIServer) -> OpenAIServer:
    one_server.forget()
    return one_server


def _model(server: OpenAIServer, name: str = "grok-3", key: str = KEY) -> XaiModel:
    settings = Settings(xai_api_key=key, xai_base_url=server.url, provider_max_retries=2)
    provider = providers(settings)["xai"]
    return open_model(provider, provider.models[name], settings)


@pytest.fixture
def model(server: OpenAIServer) -> XaiModel:
    return _model(server)


@pytest.fixture
def stranger(server: OpenAIServer) -> XaiModel:
    return _model(server, key="xai-somebody-elses-0123456789")


class TestManners(Manners):
    key = KEY


ALL: dict[str, Any] = {
    "temperature": 0.3, "seed": 5, "stop": ("A",), "frequency_penalty": 0.5, "presence_penalty": 0.5,
    "logit_bias": {"1": 1.0}, "max_tokens": 40,
}  # fmt: skip


@pytest.mark.parametrize("name", ["grok-4", "grok-3-mini", "grok-code-fast-1"])
def test_a_model_that_thinks_takes_no_penalties_and_no_stop(server: OpenAIServer, name: str) -> None:
    server.answers(server.says("one A", " two"))
    answer = ask(_model(server, name), **ALL)
    assert (answer.text, answer.end.finish_reason) == ("one ", "stop")
    body = server.asked[0].body
    assert not body.keys() & {"stop", "frequency_penalty", "presence_penalty", "logit_bias"}
    assert (body["temperature"], body["seed"]) == (0.3, 5)
    assert body["max_completion_tokens"] > 10_000


def test_one_that_does_not_takes_them(server: OpenAIServer, model: XaiModel) -> None:
    server.answers(server.says("one"))
    ask(model, **ALL)
    body = server.asked[0].body
    assert (body["stop"], body["frequency_penalty"], body["max_completion_tokens"]) == (["A"], 0.5, 40)
    assert "logit_bias" not in body


def test_what_it_thinks_is_not_shown_and_counted(server: OpenAIServer) -> None:
    thought = {"index": 0, "delta": {"role": "assistant", "reasoning_content": "Hm."}, "finish_reason": None}
    usage = {
        "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 32,
        "completion_tokens_details": {"reasoning_tokens": 20},
    }  # fmt: skip
    server.answers(sse(None, {"id": "1", "choices": [thought]}) + server.says("Yes.", usage=usage))
    answer = ask(_model(server, "grok-3-mini"))
    assert answer.text == "Yes."
    assert (answer.end.completion_tokens, answer.end.reasoning_tokens) == (22, 20)


def test_a_wrong_key_in_its_own_words(server: OpenAIServer, model: XaiModel) -> None:
    body = b'{"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***ij."}'
    server.answers(Reply(body, 400))
    with pytest.raises(ProviderRefused) as raised:
        ask(model)
    assert raised.value.detail == "xAI did not accept the key (XAI_API_KEY)."


def test_it_is_not_told_what_is_openais(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: gate-secret\nX-Other: other-secret")
    server.answers(server.says("one"))
    ask(_model(server))
    assert "secret" not in str(server.asked[0].headers)
