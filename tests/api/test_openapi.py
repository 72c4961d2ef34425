"""/openapi.json tells of every address what it takes, answers and refuses, and who may."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute, WebSocketRoute
from litestar.testing import TestClient

from api.auth import PUBLIC_PATHS, SIGN_IN_PATHS
from api.openapi.examples import example_of
from api.openapi.operations import OPERATIONS, TAGS
from config.errors import BackchannelError
from tests.api.conftest import Start

Client = TestClient[Litestar]
Json = dict[str, Any]
# Pages about the interface, and files that these load.
PAGES = {"/docs", "/docs/assets/{name}", "/docs/openapi.json", "/docs/{path}", "/redoc", "/openapi.json"}


@pytest.fixture
def whole(client: Client) -> Json:
    return client.get("/openapi.json").json()


def operations(whole: Json) -> Iterator[tuple[str, Json]]:
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def resolved(whole: Json, node: Json) -> Json:
    while "$ref" in node:
        found: Any = whole
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        node = found
    return node


def bodies(whole: Json, operation: Json) -> Iterator[tuple[str, str, Json]]:
    """Where, type, media type object; of what is sent and of all answers."""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield "sent", media, content
    for status, answer in operation["responses"].items():
        for media, content in resolved(whole, answer).get("content", {}).items():
            yield status, media, content


def test_every_route_is_there(client: Client, whole: Json) -> None:
    served = {
        f"{method} {re.sub(r':[a-z]+(?=})', '', route.path)}"
        for route in client.app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
    }
    told = {name for name, _ in operations(whole)}
    ours = {name for name in served if not name.startswith("OPTIONS ") and name.split(" ")[1] not in PAGES}
    assert told == ours == OPERATIONS.keys()
    sockets = {route.path for route in client.app.routes if isinstance(route, WebSocketRoute)}
    assert whole["x-websockets"].keys() == sockets
    assert all(socket.keys() == {"summary", "takes", "sends", "closes"} for socket in whole["x-websockets"].values())


def test_every_operation_says_what_it_is_for(whole: Json) -> None:
    ids = [operation["operationId"] for _, operation in operations(whole)]
    assert sorted(set(ids)) == sorted(ids)
    for name, operation in operations(whole):
        assert len(operation["summary"]) > 5, name
        assert set(operation["tags"]) <= TAGS.keys(), name
    assert {tag for _, operation in operations(whole) for tag in operation["tags"]} == TAGS.keys()


def test_every_operation_has_an_example_of_what_is_sent_and_of_the_answer(whole: Json) -> None:
    for name, operation in operations(whole):
        for one in operation.get("parameters", ()):
            assert resolved(whole, one).get("example") is not None, f"{name}: {one['name']}"
        for where, media, content in bodies(whole, operation):
            is_file = content["schema"].get("format") == "binary"
            assert is_file or "example" in content or content.get("examples"), f"{name} {where} {media}"


def test_examples_are_what_the_schemas_say(whole: Json) -> None:
    held = 0
    for name, operation in operations(whole):
        for one in (resolved(whole, one) for one in operation["parameters"]):
            jsonschema_rs.validate(one["schema"], one["example"])
        for where, media, content in bodies(whole, operation):
            if not media.endswith("json") or media.endswith("ndjson"):
                continue
            validator = jsonschema_rs.validator_for({**content["schema"], "components": whole["components"]})
            for example in [value["value"] for value in content.get("examples", {}).values()] or [content["example"]]:
                told = [error.message for error in validator.iter_errors(example)]
                assert not told, f"{name} {where}: {told}"
                held += 1
    assert held > 500


def test_every_operation_has_a_success_with_a_body_or_says_that_there_is_none(whole: Json) -> None:
    for name, operation in operations(whole):
        good = {status: answer for status, answer in operation["responses"].items() if status < "400"}
        assert good, name
        for status, answer in good.items():
            assert ("content" in answer) == (status not in ("204", "302", "304", "307")), f"{name} {status}"
            for content in answer.get("content", {}).values():
                assert len(resolved(whole, content["schema"])) > 0


def test_every_operation_tells_its_errors(whole: Json) -> None:
    for name, operation in operations(whole):
        path = name.split(" ")[1]
        told = operation["responses"].keys()
        wanted = {"400", "403", "500"}
        wanted |= {"401", "429", "503"} if path not in PUBLIC_PATHS | SIGN_IN_PATHS else set()
        wanted |= {"404"} if "{" in path else set()
        wanted |= {"413", "415", "422"} if "requestBody" in operation else set()
        assert wanted <= told, f"{name}: {wanted - told}"
        for status in told:
            if status >= "400":
                (media,) = resolved(whole, operation["responses"][status])["content"]
                assert media == "application/problem+json"


def test_every_word_of_the_error_tree_is_told(whole: Json) -> None:
    waiting, words = [BackchannelError], set()
    while waiting:
        error = waiting.pop()
        waiting += [kind for kind in error.__subclasses__() if kind.__module__ == "config.errors"]
        words.add((str(error.status), error.code))
    told = whole["components"]["responses"]
    assert all(f"`{code}`" in told[status]["description"] for status, code in words)


def test_who_may(start: Start) -> None:
    whole = start(AUTH_MODE="required").get("/openapi.json").json()
    assert whole["components"]["securitySchemes"].keys() == {"session", "bearer", "key"}
    every = [{"session": []}, {"bearer": []}, {"key": []}]
    for name, operation in operations(whole):
        path = name.split(" ")[1]
        if path in PUBLIC_PATHS:
            assert operation["security"] == [], name
        elif path in SIGN_IN_PATHS:
            assert operation["security"] == [{}, *every], name
        else:
            assert operation["security"] == every, name
    local = start(AUTH_MODE="local").get("/openapi.json").json()
    assert local["paths"]["/api/jobs"]["get"]["security"] == [{}, *every]


def test_what_makes_a_job_takes_its_headers_and_answers_202(whole: Json) -> None:
    made = []
    for name, operation in operations(whole):
        headers = {resolved(whole, one)["name"] for one in operation["parameters"]}
        makes = {"Idempotency-Key", "Prefer"} <= headers
        assert makes == bool({"Idempotency-Key", "Prefer"} & headers), name
        if makes:
            assert "202" in operation["responses"], name
            assert {"409", "429", "502", "503", "504", "507"} <= operation["responses"].keys(), name
            made.append(name)
    assert {"POST /api/jobs", "POST /api/chat", "POST /api/imports", "POST /api/upload"} <= set(made)


def test_streams_uploads_and_downloads_have_their_types(whole: Json) -> None:
    paths = whole["paths"]
    assert "text/event-stream" in paths["/api/jobs/{job_id}/events"]["get"]["responses"]["200"]["content"]
    named = [resolved(whole, one)["name"] for one in paths["/api/jobs/{job_id}/events"]["get"]["parameters"]]
    assert {"after", "Last-Event-ID"} <= set(named)
    for path in ("/api/imports", "/api/upload", "/api/conversations/{conversation_id}/files"):
        form = paths[path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert form["properties"]["file"]["format"] == "binary"
        assert form["required"] == ["file"]
    assert paths["/api/files/{file_id}"]["get"]["responses"]["200"]["content"]["*/*"]["schema"]["format"] == "binary"


def test_no_name_leads_nowhere(whole: Json) -> None:
    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    names = set(walk(whole))
    assert len(names) > 50
    assert all(resolved(whole, {"$ref": name}) for name in names)
    used = {name.rpartition("/")[2] for name in names if "/schemas/" in name}
    assert whole["components"]["schemas"].keys() == used


def test_it_is_an_openapi_document(whole: Json) -> None:
    jsonschema_rs.meta.validate(whole["components"]["schemas"]["Job"])
    for name, schema in whole["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema), name


def test_a_field_without_an_example_is_told() -> None:
    with pytest.raises(LookupError, match="size: no example"):
        example_of({"type": "object", "properties": {"size": {"type": "integer"}}}, {})
