"""Files that are asked about reach a provider as its protocol has them, or as text where it does not take them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from config.queues import Kind
from tests import documents, factories
from tests.standins import anthropic_server, gemini_server, openai_server
from tests.standins.anthropic_server import AnthropicServer
from tests.standins.gemini_server import GeminiServer
from tests.standins.ollama_server import OllamaServer
from tests.standins.openai_server import OpenAIServer
from tests.tasks.bringing import PNG, REPORT, answer, bring, configured, content, conversation_id, openai

__all__ = ["configured", "conversation_id", "openai"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def chat_picture(body: Any) -> tuple[str, str]:
    _, part = body["messages"][-1]["content"]
    return tuple(part["image_url"]["url"].removeprefix("data:").split(";base64,"))


def responses_picture(body: Any) -> tuple[str, str]:
    _, part = body["input"][-1]["content"]
    return tuple(part["image_url"].removeprefix("data:").split(";base64,"))


def anthropic_picture(body: Any) -> tuple[str, str]:
    part, _ = body["messages"][-1]["content"]
    return part["source"]["media_type"], part["source"]["data"]


def gemini_picture(body: Any) -> tuple[str, str]:
    (data,) = [part["inlineData"] for part in body["contents"][-1]["parts"] if "inlineData" in part]
    return data.get("mimeType") or data["mime_type"], data["data"]


def ollama_picture(body: Any) -> tuple[str, str]:
    return "image/png", *body["messages"][-1]["images"]


Case = tuple[Callable[[], Any], dict[str, str], str, Callable[[Any], tuple[str, str]]]
_OPENAI = {"openai_api_key": openai_server.KEY, "openai_base_url": ""}
_CASES: dict[str, Case] = {
    "openai chat": (OpenAIServer, _OPENAI, "gpt-4o", chat_picture),
    "openai responses": (lambda: OpenAIServer("responses"), _OPENAI, "gpt-4.1", responses_picture),
    "anthropic": (
        AnthropicServer,
        {"anthropic_api_key": anthropic_server.KEY, "anthropic_base_url": ""},
        "claude-haiku-4.5",
        anthropic_picture,
    ),
    "gemini": (
        GeminiServer,
        {"gemini_api_key": gemini_server.KEY, "gemini_base_url": ""},
        "gemini-2.5-flash",
        gemini_picture,
    ),
    "xai": (OpenAIServer, {"xai_api_key": openai_server.KEY, "xai_base_url": ""}, "grok-4", chat_picture),
    "ollama": (OllamaServer, {"ollama_url": ""}, "tiny:latest", ollama_picture),
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES)
def test_a_picture_arrives_as_the_protocol_has_it(
    case: Case, configured: Callable[..., None], conversation_id: str
) -> None:
    make, values, model, picture = case
    with make() as server:
        configured(**{name: value or server.url for name, value in values.items()})
        path = "/v1" if model == "grok-4" else ""
        configured(**{name: server.url + path for name, value in values.items() if not value})
        bring(conversation_id, PNG, "heron.png")
        server.answers(server.says("A heron."))
        answer(conversation_id, model=model)
        kind, data = picture(server.asked[-1].body)
        assert (kind, base64.b64decode(data)) == ("image/png", PNG)
        assert not server.problems


def test_a_pdf_goes_to_a_model_that_reads_them(openai: OpenAIServer, conversation_id: str) -> None:
    bring(conversation_id, REPORT, "report.pdf")
    openai.answers(openai.says("Herons."))
    answer(conversation_id, model="gpt-4o")
    text, file = content(openai)
    assert text == {"type": "text", "text": "What is this?"}
    assert file["file"]["filename"] == "report.pdf"
    assert base64.b64decode(file["file"]["file_data"].partition(",")[2]) == REPORT


def test_a_pdf_is_told_to_one_that_does_not(openai: OpenAIServer, conversation_id: str) -> None:
    bring(conversation_id, REPORT, "report.pdf")
    openai.answers(openai.says("Herons."))
    answer(conversation_id, model="gpt-4-turbo")
    assert content(openai) == "What is this?\n\n<file name='report.pdf'>\nHerons were seen\n</file>"


def test_a_pdf_that_would_fill_the_window_is_told_as_far_as_it_fits(openai: OpenAIServer, conversation_id: str) -> None:
    bring(
        conversation_id, REPORT, "report.pdf", read=False, extracted_text="heron " * 100_000, read_at=factories.ago(1)
    )
    openai.answers(openai.says("Herons."))
    answer(conversation_id, model="gpt-4o")
    told = content(openai)
    assert told.startswith("What is this?\n\n<file name='report.pdf'>\nheron heron")
    assert told.endswith("… (the rest is left out)\n</file>")


def test_text_is_told_to_every_model(openai: OpenAIServer, conversation_id: str) -> None:
    bring(conversation_id, b"Herons eat fish.", "herons.md")
    openai.answers(openai.says("Fish."), openai.says("Yes."))
    answer(conversation_id, "What do they eat?", model="gpt-4o")
    told = "What do they eat?\n\n<file name='herons.md'>\nHerons eat fish.\n</file>"
    assert content(openai) == told
    answer(conversation_id, "Are you sure?", model="gpt-4o")
    assert [text for _, text in openai.texts()] == [told, "Fish.", "Are you sure?"]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"summary_text": "A grey heron by a lake."}, "A grey heron by a lake."),
        ({}, "(There is no text of it. No model that looks at pictures is set (VISION_MODEL),"),
    ],
    ids=["described", "not described"],
)
def test_a_model_that_sees_nothing_is_told_what_is_known(
    configured: Callable[..., None], conversation_id: str, found: dict[str, Any], told: str
) -> None:
    with OpenAIServer() as server:
        configured(xai_api_key=openai_server.KEY, xai_base_url=f"{server.url}/v1")
        bring(conversation_id, PNG, "heron.png", read=not found, **found)
        if found:  # its job is over
            (job,) = factories.all_jobs(Kind.EXTRACT)
            factories.claim(job.id)
            factories.finish(job.id)
        server.answers(server.says("I see."))
        answer(conversation_id, model="grok-3")
        assert f"<file name='heron.png'>\n{told}" in content(server)


def test_a_type_that_the_provider_does_not_take_is_told(configured: Callable[..., None], conversation_id: str) -> None:
    with OpenAIServer() as server:
        configured(xai_api_key=openai_server.KEY, xai_base_url=f"{server.url}/v1")
        bring(conversation_id, documents.GIF, "a.gif")
        server.answers(server.says("I see."))
        answer(conversation_id, model="grok-4")
        assert "<file name='a.gif'>" in content(server)
