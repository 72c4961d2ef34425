"""The whole document: what the framework knows of the routes, put right and filled up with what `operations` says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from litestar import Litestar, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.routes import WebSocketRoute

from api.auth import PUBLIC_PATHS, SIGN_IN_PATHS
from api.callers import SESSION_COOKIE
from api.media import FORM
from api.openapi import problems
from api.openapi.operations import OPERATIONS, PARAMETERS, SOCKETS, TAGS
from api.openapi.schemas import Schemas
from api.openapi.shapes import JSON, Media, Operation
from config.settings import get_settings

Json = dict[str, Any]

_ABOUT = """Every slow thing is a job. An address that makes one answers at once with the job (202) or waits for what
comes of it, as `Prefer` says; `GET /api/jobs/{job_id}/events` tells what happens, from any number on.

The same `Idempotency-Key` with the same body is the same job. Errors are `application/problem+json` (RFC 9457) with a
`code` for programs. Unknown fields are refused. WebSockets, for which OpenAPI has no words, are under `x-websockets`.

With `AUTH_MODE=local` whoever reaches the server is its owner; with `AUTH_MODE=required` callers sign in."""

_SCHEMES = {
    "session": {
        "type": "apiKey", "in": "cookie", "name": SESSION_COOKIE,
        "description": "A browser's, from /api/auth/login",
    },
    "bearer": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "From /auth/login, for a name and a password",
    },
    "key": {
        "type": "apiKey", "in": "header", "name": "X-API-Key",
        "description": "From `backchannel key add`",
    },
}  # fmt: skip

_HEADERS = {
    "Idempotency-Key": {
        "name": "Idempotency-Key", "in": "header", "example": "8f14e45f-ceea-467f-a0d4-2c1b9c2f5e11",
        "description": "Sent again with the same body it names the same job, with another it is refused (422)",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    },
    "Prefer": {
        "name": "Prefer", "in": "header", "example": "wait=30",
        "description": "RFC 7240: `respond-async` answers with the job at once, `wait=N` waits for N seconds at most",
        "schema": {"type": "string"},
    },
    "Last-Event-ID": {
        "name": "Last-Event-ID", "in": "header", "example": "3",
        "description": "Number of the last event you have; what follows it is told",
        "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    },
}  # fmt: skip

_PREFERRED = {
    "Location": {"description": "The job", "schema": {"type": "string"}},
    "Preference-Applied": {"description": "What was heeded of `Prefer`", "schema": {"type": "string"}},
}
_TEXT = {"type": "string"}
# Of each one in the stream, as OpenAPI 3.2 has it; tools of 3.1 take it for that, too.
_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The event's number in the job's log"},
        "data": {"type": "string", "contentMediaType": JSON},
    },
    "required": ["data"],
}
_REASONS = {
    200: "Done",
    201: "Made",
    202: "The job, which is done in the background",
    204: "Done; there is nothing to say",
    302: "Elsewhere",
    304: "You have it already",
    307: "It is elsewhere",
}


def config(router: Router, pages: Sequence[OpenAPIRenderPlugin]) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Backchannel",
        version=version("backchannel"),
        description=_ABOUT,
        path="/docs",
        openapi_router=router,
        render_plugins=pages,
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, _method, _path: _operation_id(handler.fn.__qualname__),
    )


def _operation_id(qualname: str) -> str:
    """`JobController.list` is job_list, `rag_search` is rag_search."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", qualname.replace("Controller.", "_")).lower()


def document(app: Litestar) -> Json:
    return _made(app, get_settings().auth_mode)


@lru_cache(maxsize=2)
def _made(app: Litestar, auth_mode: str) -> Json:
    whole: Json = app.openapi_schema.to_schema()
    shapes = Schemas(app)
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            _finish(operation, method.upper(), path, shapes, auth_mode)
    whole["components"] = {
        "schemas": shapes.named,
        "responses": problems.components(),
        "parameters": _HEADERS,
        "securitySchemes": _SCHEMES,
    }
    whole["tags"] = [{"name": name, "description": about} for name, about in TAGS.items()]
    sockets = sorted(route.path for route in app.routes if isinstance(route, WebSocketRoute))
    whole["x-websockets"] = {path: SOCKETS.get(path, {}) for path in sockets}
    return whole


# --- one operation


def _finish(operation: Json, method: str, path: str, shapes: Schemas, auth_mode: str) -> None:
    name = f"{method} {path}"
    described = OPERATIONS.get(name) or Operation({int(next(iter(operation["responses"]))): None})
    is_public, signs_in = path in PUBLIC_PATHS, path in SIGN_IN_PATHS
    operation.pop("deprecated", None)
    operation["parameters"] = _parameters(operation.get("parameters", ()), described, path)
    body = _body(name, described, shapes)
    operation.pop("requestBody", None)
    if body is not None:
        operation["requestBody"] = body
    operation["responses"] = {
        str(status): _response(status, answer, described, shapes) for status, answer in described.answers.items()
    }
    for status in problems.statuses(method, operation, described, is_public=is_public, signs_in=signs_in):
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
    ways: list[Json] = [] if is_public else [{scheme: []} for scheme in _SCHEMES]
    operation["security"] = [{}, *ways] if ways and (auth_mode == "local" or signs_in) else ways


def _parameters(given: Sequence[Json], described: Operation, path: str) -> list[Json]:
    found = [_parameter(one) for one in given]
    if described.makes_job:
        found += [{"$ref": f"#/components/parameters/{name}"} for name in ("Idempotency-Key", "Prefer")]
    if path.endswith("/events"):
        found.append({"$ref": "#/components/parameters/Last-Event-ID"})
    return found


def _parameter(given: Json) -> Json:
    """Nothing is null in an address; the framework says so of what may be left out."""
    kept: Json = {key: given[key] for key in ("name", "in", "description", "required", "schema") if key in given}
    schema = dict(kept["schema"])
    schema.pop("description", None)
    if "oneOf" in schema:
        one = next(one for one in schema.pop("oneOf") if one.get("type") != "null")
        schema = {**one, **schema}
    if isinstance(schema.get("type"), list):
        schema["type"] = next(one for one in schema["type"] if one != "null")
        schema["enum"] = [one for one in schema["enum"] if one is not None]
    kept["schema"] = {key: int(value) if isinstance(value, float) else value for key, value in schema.items()}
    known = (schema.get("default"), *schema.get("enum", ()), PARAMETERS.get(kept["name"]))
    kept["example"] = next((one for one in known if one is not None), None)
    return kept


def _body(name: str, described: Operation, shapes: Schemas) -> Json | None:
    sent, taken = described.sent, shapes.taken.get(name)
    shape = taken if sent is None or sent.shape is None else sent.shape
    content: Json = {}
    if shape is not None:
        content[JSON] = {"schema": shapes.of(shape)}
        if sent is not None and sent.example is not None:
            content[JSON]["example"] = dict(sent.example)
        elif sent is not None:
            content[JSON]["examples"] = {name: {"value": dict(value)} for name, value in sent.examples.items()}
    if sent is not None and sent.form is not None:
        content[FORM] = _form(sent.form)
    return {"required": name not in shapes.optional, "content": content} if content else None


def _form(fields: Sequence[str]) -> Json:
    file = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    properties: Json = {"file": file, **{name: {"type": "string"} for name in fields}}
    schema = {"type": "object", "properties": properties, "required": ["file"], "additionalProperties": False}
    return {"schema": schema, "example": {"file": "roses.pdf", **{name: PARAMETERS[name] for name in fields}}}


def _response(status: int, answer: Any, described: Operation, shapes: Schemas) -> Json:
    found: Json = {"description": _REASONS[status]}
    headers = {name: {"description": about, "schema": {"type": "string"}} for name, about in described.headers.items()}
    if described.makes_job:
        headers |= _PREFERRED
    if headers:
        found["headers"] = headers
    content = dict(_content(one, shapes) for one in (answer if isinstance(answer, tuple) else (answer,)) if one)
    return {**found, "content": content} if content else found


def _content(answer: Any, shapes: Schemas) -> tuple[str, Json]:
    if not isinstance(answer, Media):
        return JSON, {"schema": shapes.of(answer), "example": shapes.example(answer)}
    if answer.binary:
        return answer.type, {"schema": {"type": "string", "format": "binary"}}
    return answer.type, {"schema": _EVENT if answer.type == "text/event-stream" else _TEXT, "example": answer.example}
