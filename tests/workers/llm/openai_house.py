"""OpenAI's models before their stand-in, for the tests of both protocols."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from config.catalogue import providers
from config.settings import Settings
from tests.standins.openai_server import KEY, OpenAIServer
from tests.workers.llm.answers import collect
from workers.llm.openai import OpenAIModel, open_model
from workers.ports import Attachment, ChatMessage, ChatRequest, Tool, ToolCall

WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
PICTURE, PDF = Attachment("image/png", b"\x89PNG"), Attachment("application/pdf", b"%PDF", "plan.pdf")
TABLE = Attachment("text/csv", b"a,b", "t.csv")
CALLED = (
    ChatMessage("system", "Be brief."),
    ChatMessage("user", "Weather?"),
    ChatMessage("assistant", "Let me see.", tool_calls=(ToolCall("c1", "weather", {"city": "Köln"}),)),
    ChatMessage("tool", "Rain", tool_call_id="c1"),
    ChatMessage("assistant", "", tool_calls=(ToolCall("c2", "weather", {}),)),
)
Api = Literal["chat", "responses"]
OF = {"chat": "gpt-4o-mini", "responses": "gpt-4.1"}


def opened(server: OpenAIServer, name: str = "", api: Api | None = None, **given: Any) -> OpenAIModel:
    given = {"openai_api_key": KEY, "openai_base_url": server.url, "provider_max_retries": 2, **given}
    settings = Settings(**given)
    provider = providers(settings)["openai"]
    spec = provider.models[name or OF[server.api]]
    return open_model(provider, replace(spec, api=api or spec.api), settings)


def sent(server: OpenAIServer, model: OpenAIModel, *messages: ChatMessage, **more: Any) -> dict[str, Any]:
    """The body that was sent for these messages."""
    server.answers(server.says("Yes."))
    collect(model, ChatRequest(messages or (ChatMessage("user", "Hi"),), **more))
    assert not server.problems
    return dict(server.asked[-1].body)
