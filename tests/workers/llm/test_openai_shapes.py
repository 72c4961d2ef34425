from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from config.errors import Unusable
from tests.standins.openai_server import OpenAIServer
from tests.standins.openai_streams import Call
from tests.workers.llm.answers import Answer, collect
from tests.workers.llm.openai_house import PDF, PICTURE, SCHEMA, TABLE, WEATHER, opened, sent
from workers.llm.openai import OpenAIModel
from workers.llm.openai_shapes import JSON_IN_WORDS, UNPARSED, is_strict
from workers.ports import Attachment, ChatMessage, ChatRequest, Sampling


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
def model(server: OpenAIServer) -> OpenAIModel:
    return opened(server)


def _url(attachment: Attachment) -> str:
    return f"data:{attachment.mime_type};base64,{base64.b64encode(attachment.data).decode()}"


def test_files(server: OpenAIServer, model: OpenAIModel) -> None:
    sent(server, model, ChatMessage("user", "Look", attachments=(PICTURE, PDF, TABLE)))
    ((_, parts),) = server.texts()
    if server.api == "chat":
        assert parts == [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": _url(PICTURE)}},
            {"type": "file", "file": {"filename": "plan.pdf", "file_data": _url(PDF)}},
            {"type": "text", "text": "t.csv:\na,b"},
        ]
    else:
        assert parts == [
            {"type": "input_text", "text": "Look"},
            {"type": "input_image", "image_url": _url(PICTURE), "detail": "auto"},
            {"type": "input_file", "filename": "plan.pdf", "file_data": _url(PDF)},
            {"type": "input_text", "text": "t.csv:\na,b"},
        ]


def test_only_users_have_files(server: OpenAIServer, model: OpenAIModel) -> None:
    with pytest.raises(Unusable, match="Only a user's"):
        collect(model, ChatRequest((ChatMessage("assistant", "Look", attachments=(PICTURE,)),)))


@pytest.mark.parametrize(
    ("schema", "strict", "name"),
    [
        (SCHEMA, True, "answer"),
        (SCHEMA | {"title": "An answer!"}, True, "An_answer_"),
        ({"type": "object"}, False, "answer"),
    ],
)
def test_a_schema(server: OpenAIServer, model: OpenAIModel, schema: dict[str, Any], strict: bool, name: str) -> None:
    body = sent(server, model, sampling=Sampling(response_format={"type": "json_schema", "schema": schema}))
    inside = {"name": name, "schema": schema, "strict": strict}
    if server.api == "chat":
        assert body["response_format"] == {"type": "json_schema", "json_schema": inside}
    else:
        assert body["text"] == {"format": {"type": "json_schema", **inside}}


def test_any_json_object(server: OpenAIServer, model: OpenAIModel) -> None:
    form = Sampling(response_format={"type": "json_object"})
    body = sent(server, model, sampling=form)
    assert (body.get("response_format") or body["text"]["format"]) == {"type": "json_object"}
    assert server.texts()[0][1] == JSON_IN_WORDS
    sent(server, model, ChatMessage("user", "In JSON, please"), sampling=form)
    assert len(server.texts()) == 1


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (SCHEMA, True),
        ({**SCHEMA, "properties": {"a": {"type": "integer", "minimum": 3}}}, False),
        ({**SCHEMA, "required": []}, False),
        ({**SCHEMA, "additionalProperties": True}, False),
        ({**SCHEMA, "properties": {"a": {}}}, False),
        (
            {
                **SCHEMA,
                "properties": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]}},
                "$defs": {"b": SCHEMA},
            },
            True,
        ),
        ({**SCHEMA, "properties": {"a": {"type": ["object", "null"]}}}, False),
        ({**SCHEMA, "properties": {"a": {"type": "array", "items": {"type": "object"}}}}, False),
        ({**SCHEMA, "properties": [1]}, False),
        ({**SCHEMA, "required": 5}, False),
        ({"type": "array", "items": SCHEMA}, False),
        ({**SCHEMA, "anyOf": [SCHEMA]}, False),
    ],
)
def test_which_schemas_are_strict(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) == strict


def _ask_tools(model: OpenAIModel) -> Answer:
    return collect(model, ChatRequest((ChatMessage("user", "Hi"),), tools=(WEATHER,)))


@pytest.mark.parametrize("wrong", ['{"city', "[1]", '{"a": NaN}', '{"a": "\\ud83d"}', "[" * 5000])
def test_arguments_that_are_no_json_object_come_as_they_are(
    server: OpenAIServer, model: OpenAIModel, wrong: str
) -> None:
    server.answers(server.says(calls=[Call("c1", "weather", [wrong])]))
    (call,) = _ask_tools(model).end.tool_calls
    assert call.arguments == {UNPARSED: wrong}
