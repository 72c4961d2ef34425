from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from config.catalogue import ModelSpec, providers
from config.errors import ProviderRefused, ProviderUnavailable, Unusable
from config.settings import Settings
from tests.servers import free_port
from tests.standins.ollama_server import OllamaServer
from tests.workers.llm.answers import ask, collect
from tests.workers.llm.manners import Manners
from workers.llm.ollama import OllamaModel, list_models, open_model
from workers.ports import Attachment, ChatMessage, ChatRequest, Sampling, Tool, ToolCall

KEY = "ollama-stand-in-key-0123456789"
DEEP = {"type": "object", "properties": {"place": {"type": "object", "properties": {"city": {"type": "string"}}}}}
LOOK_UP = Tool("look_up", "Looks it up.", DEEP)


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        server.key = KEY
        yield server


def _settings(server: OllamaServer, key: str = KEY) -> Settings:
    return Settings(ollama_url=server.url, ollama_api_key=key, provider_max_retries=2)


def _model(server: OllamaServer, name: str = "tiny:latest", key: str = KEY, **more: Any) -> OllamaModel:
    settings = _settings(server, key)
    spec = ModelSpec("ollama", name, name, 32768, 32768, frozenset({"tools", "vision", "json_schema"}))
    return open_model(providers(settings)["ollama"], replace(spec, **more), settings)


@pytest.fixture
def model(server: OllamaServer) -> OllamaModel:
    return _model(server)


@pytest.fixture
def stranger(server: OllamaServer) -> OllamaModel:
    return _model(server, key="somebody-elses-key-0123456789")


class TestManners(Manners):
    key = KEY


def _asked(server: OllamaServer, model: OllamaModel, *messages: ChatMessage, **more: Any) -> dict[str, Any]:
    """The body that was sent for these messages."""
    server.answers(server.says("Yes."))
    collect(model, ChatRequest(messages, **more))
    assert not server.problems
    return dict(server.asked[-1].body)


# --- what is sent


def test_everything_a_sampler_knows_is_told(server: Any, model: OllamaModel) -> None:
    sampling = Sampling(0.3, 0.9, 30, 0.1, 5, 200, ("END", "\n"), repeat_penalty=1.1, presence_penalty=0.2)
    body = _asked(server, model, ChatMessage("user", "Hi"), sampling=sampling)
    assert body["model"] == "tiny:latest"
    assert body["options"] == {
        "num_ctx": 8192,
        "num_predict": 200,
        "temperature": 0.3,
        "top_p": 0.9,
        "top_k": 30,
        "min_p": 0.1,
        "seed": 5,
        "stop": ["END", "\n"],
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.0,
    }


def test_the_window_grows_with_the_prompt_and_stays(server: Any, model: OllamaModel) -> None:
    long = ChatMessage("user", "word " * 8000)  # 13,000 tokens at most
    assert _asked(server, model, long)["options"]["num_ctx"] == 16384
    assert _asked(server, model, ChatMessage("user", "Hi"))["options"]["num_ctx"] == 16384, "the model is not reloaded"


def test_the_window_is_no_wider_than_the_models(server: Any) -> None:
    small = _model(server, context_tokens=3000, output_tokens=3000)
    options = _asked(server, small, ChatMessage("user", "Hi"), sampling=Sampling(max_tokens=9000))["options"]
    assert options["num_ctx"] == 3000
    assert options["num_predict"] < 3000


def test_tools_and_their_results_go_there_and_back(server: Any, model: OllamaModel) -> None:
    wanted = {"place": {"city": "Köln"}}
    server.answers(server.says(calls=({"name": "look_up", "arguments": wanted},)))
    question = ChatMessage("user", "Where?")
    first = collect(model, ChatRequest((question,), tools=(LOOK_UP,)))
    (call,) = first.end.tool_calls
    assert (first.end.finish_reason, call.name, call.arguments) == ("tool_calls", "look_up", wanted)
    assert server.asked[-1].body["tools"][0]["function"]["parameters"] == DEEP, "the SDK's own types drop inner ones"

    body = _asked(
        server,
        model,
        question,
        ChatMessage("assistant", "", tool_calls=(call,)),
        ChatMessage("tool", "On the Rhine.", tool_call_id=call.id),
        tools=(LOOK_UP,),
    )
    assert body["messages"][1]["tool_calls"] == [{"function": {"name": "look_up", "arguments": wanted}}]
    assert body["messages"][2] == {"role": "tool", "content": "On the Rhine.", "tool_name": "look_up"}


def test_pictures_go_beside_the_words(server: Any, model: OllamaModel) -> None:
    picture = Attachment("image/png", b"\x89PNG")
    (message,) = _asked(server, model, ChatMessage("user", "What is this?", (picture,)))["messages"]
    assert [base64.b64decode(one) for one in message["images"]] == [b"\x89PNG"]
    assert message["content"] == "What is this?"


def test_a_document_is_refused(server: Any, model: OllamaModel) -> None:
    message = ChatMessage("user", "What is this?", (Attachment("application/pdf", b"%PDF"),))
    with pytest.raises(Unusable, match="PDF"):
        collect(model, ChatRequest((message,)))
    assert not server.asked


def test_json(server: Any, model: OllamaModel) -> None:
    form = {"type": "json_schema", "schema": DEEP}
    assert _asked(server, model, ChatMessage("user", "?"), sampling=Sampling(response_format=form))["format"] == DEEP
    any_json = Sampling(response_format={"type": "json_object"})
    assert _asked(server, model, ChatMessage("user", "?"), sampling=any_json)["format"] == "json"


def test_an_answer_that_was_begun_is_the_last_message(server: Any, model: OllamaModel) -> None:
    server.answers(server.says("1}"))
    assert ask(model, response_format={"type": "json_schema", "schema": DEEP}, resume=('{"a": ', ())).text == "1}"
    body = server.asked[-1].body
    assert "format" not in body
    assert body["messages"][-1] == {"role": "assistant", "content": '{"a":'}


# --- what comes back


def test_what_it_cost_and_why_it_ended(server: Any, model: OllamaModel) -> None:
    server.answers(server.says("Yes", reason="length"))
    end = ask(model).end
    assert (end.finish_reason, end.prompt_tokens, end.completion_tokens) == ("length", 11, 7)


def test_log_probabilities(server: Any, model: OllamaModel) -> None:
    told = [{"token": "Yes", "logprob": -0.1, "top_logprobs": [{"token": "No", "logprob": -2.5}]}]
    piece = json.loads(server.begins("Yes").splitlines()[-1]) | {"logprobs": told}
    server.answers(json.dumps(piece).encode() + b"\n" + server.says("."))
    answer = ask(model, logprobs=1)
    assert server.asked[-1].body["top_logprobs"] == 1
    (first,) = [one for delta in answer.deltas for one in delta.logprobs]
    assert (first.token, first.logprob, first.top) == ("Yes", -0.1, (("No", -2.5),))


def test_an_error_line_in_the_middle_is_gone_on_after(server: Any, model: OllamaModel) -> None:
    server.answers(server.begins("The sky ") + server.error_line("an error was encountered"), server.says("is blue."))
    assert ask(model).text == "The sky is blue."
    assert server.asked[1].body["messages"][-1] == {"role": "assistant", "content": "The sky"}


def test_a_line_that_is_no_object_is_gone_on_after(server: Any, model: OllamaModel) -> None:
    server.answers(server.begins("The sky ") + b"[1]\n", server.says("is blue."))
    assert ask(model).text == "The sky is blue."


def test_a_model_that_is_not_there_is_to_be_pulled(server: Any) -> None:
    with pytest.raises(ProviderRefused, match="pull it there"):
        ask(_model(server, "absent"))


def test_a_model_without_tools_says_so(server: Any) -> None:
    server.models["tiny:latest"]["capabilities"] = ["completion"]
    with pytest.raises(Unusable, match="does not support tools"):
        collect(_model(server), ChatRequest((ChatMessage("user", "?"),), tools=(LOOK_UP,)))


def test_a_server_that_does_not_run_is_unavailable() -> None:
    settings = Settings(ollama_url=f"http://127.0.0.1:{free_port()}")
    provider = providers(settings)["ollama"]
    with pytest.raises(ProviderUnavailable, match="OLLAMA_URL"):
        ask(open_model(provider, ModelSpec("ollama", "tiny", "tiny"), settings))
    with pytest.raises(ProviderUnavailable, match="OLLAMA_URL"):
        list_models(provider, settings)


# --- the models it has


def test_models_are_listed_with_windows_and_abilities(server: Any) -> None:
    info = {"general.architecture": "qwen3", "qwen3.context_length": 40960}
    server.models["thinker:8b"] = {"capabilities": ["completion", "thinking"], "model_info": info}
    server.models["embedder"] = {"capabilities": ["embedding"], "model_info": {}}
    server.models["old"] = {"model_info": {}}
    settings = _settings(server)
    tiny, thinker, old = list_models(providers(settings)["ollama"], settings)
    assert (tiny.id, tiny.context_tokens, tiny.abilities) == (
        "tiny:latest",
        32768,
        {"tools", "vision", "json_schema"},
    )
    assert (thinker.context_tokens, thinker.abilities) == (40960, {"reasoning", "json_schema"})
    assert (old.id, old.context_tokens) == ("old", 8192)


def test_a_wrong_key_lists_nothing(server: Any) -> None:
    settings = _settings(server, key="somebody-elses-key-0123456789")
    with pytest.raises(ProviderUnavailable) as caught:
        list_models(providers(settings)["ollama"], settings)
    assert "somebody" not in str(caught.value)


def test_a_thinking_model_is_told_to_go_on(server: Any) -> None:
    thinker = _model(server, abilities=frozenset({"reasoning"}))
    server.answers(server.says("three"))
    assert ask(thinker, resume=("One, two, ", ())).text == "three"
    assert server.asked[-1].body["messages"][-1]["role"] == "user"


def test_calls_that_are_not_answered_are_given_an_answer(server: Any, model: OllamaModel) -> None:
    call = ToolCall("c1", "look_up", {})
    body = _asked(server, model, ChatMessage("assistant", "", tool_calls=(call,)), ChatMessage("user", "Well?"))
    assert [message["role"] for message in body["messages"]] == ["assistant", "tool", "user"]
