from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config.errors import ProviderRefused
from tests.standins.openai_server import OpenAIServer
from tests.standins.server import sse
from tests.workers.llm.answers import ask
from tests.workers.llm.openai_house import CALLED, WEATHER, opened, sent
from workers.llm.shapes import NO_RESULT
from workers.ports import Sampling


@pytest.fixture(scope="module")
def one_server() -> Iterator[OpenAIServer]:
    with OpenAIServer("responses") as server:
        yield server


@pytest.fixture
def server(one_server: OpenAIServer) -> OpenAIServer:
    one_server.forget()
    one_server.refuses = set()
    return one_server


def test_sampling_in_responses(server: OpenAIServer) -> None:
    drawing = Sampling(0.0, 0.9, seed=7, max_tokens=5, stop=("A",), frequency_penalty=0.5)
    body = sent(server, opened(server), sampling=drawing)
    assert body == {
        "model": "gpt-4.1",
        "input": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "store": False,
        "max_output_tokens": 16,
        "temperature": 0.0,
        "top_p": 0.9,
    }


def test_tools_in_responses(server: OpenAIServer) -> None:
    body = sent(server, opened(server), *CALLED, tools=(WEATHER,))
    function = {"name": "weather", "description": "Tells the weather.", "parameters": WEATHER.parameters}
    assert body["tools"] == [{"type": "function", **function, "strict": False}]
    assert body["input"] == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Köln"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "Rain"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c2", "output": NO_RESULT},
    ]


def test_several_messages_of_one_response_are_paragraphs(server: OpenAIServer) -> None:
    def delta(place: int, text: str) -> dict[str, Any]:
        where = {"item_id": f"m{place}", "output_index": place, "content_index": 0, "sequence_number": 1}
        return {"type": "response.output_text.delta", **where, "delta": text, "logprobs": []}

    events = [delta(0, "Let me "), delta(0, "see."), delta(2, "It rains.")]
    server.answers(b"".join(sse(event["type"], event) for event in events) + server.says())
    assert ask(opened(server)).text == "Let me see.\n\nIt rains."


@pytest.mark.parametrize(("code", "kind"), [("rate_limit_exceeded", None), ("invalid_image", ProviderRefused)])
def test_a_response_that_failed(server: OpenAIServer, code: str, kind: type[Exception] | None) -> None:
    failed = server.says("One", finish="failed", error={"code": code, "message": "Oops"})
    server.answers(failed, server.says(" two"))
    if kind is None:
        assert ask(opened(server)).text == "One two"
    else:
        with pytest.raises(kind, match="Oops"):
            ask(opened(server))
