"""Every answer that any test here gets is held against /openapi.json: status, type of the body, shape of the body."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx
import jsonschema_rs
from litestar import Litestar

from api.openapi.document import document

Json = dict[str, Any]


_told: list[Json] = []


def whole(app: Litestar) -> Json:
    """The first app's, for all: they have the same addresses, and making one takes longer than most tests."""
    if not _told:
        _told.append(document(app))
    return _told[0]


def checks(app: Litestar) -> dict[str, list[Any]]:
    """Event hooks for a client of this app."""
    return {"response": [lambda response: check(app, response)]}


def check(app: Litestar, response: httpx.Response) -> None:
    found = _operation(app, response.request.method, response.request.url.path)
    if found is None or response.status_code == 405:
        return  # at no address of ours, or in no method of it
    name, operation = found
    told = operation["responses"].get(str(response.status_code))
    assert told is not None, f"{name} answers {response.status_code}, which /openapi.json does not tell"
    told = _resolved(whole(app), told)
    media = response.headers.get("content-type", "").partition(";")[0]
    types = told.get("content", {})
    if not types:
        return
    known = next((one for one in types if re.fullmatch(one.replace("*", ".*").replace("+", r"\+"), media)), None)
    assert known is not None, f"{name} answers {response.status_code} as {media!r}, not as {', '.join(types)}"
    if media == "application/json" or media.endswith("+json"):
        response.read()
        errors = [f"{error.instance_path}: {error.message}"[:300] for error in
                  _validator(app, name, str(response.status_code), known).iter_errors(response.json())]  # fmt: skip
        assert not errors, f"{name} {response.status_code}: {errors[:3]}"


def _resolved(document: Json, told: Json) -> Json:
    return document["components"]["responses"][told["$ref"].rpartition("/")[2]] if "$ref" in told else told


@cache
def _addresses(app: Litestar) -> list[tuple[re.Pattern[str], str]]:
    """Those without names in them first, as the router has it."""
    paths = sorted(whole(app)["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", path) + "/?"), path) for path in paths]


def _operation(app: Litestar, method: str, path: str) -> tuple[str, Json] | None:
    for pattern, template in _addresses(app):
        if pattern.fullmatch(path) and method.lower() in whole(app)["paths"][template]:
            return f"{method} {template}", whole(app)["paths"][template][method.lower()]
    return None


@cache
def _validator(app: Litestar, name: str, status: str, media: str) -> Any:
    strict = {key: _closed(schema) for key, schema in whole(app)["components"]["schemas"].items()}
    method, path = name.split(" ", 1)
    told = _resolved(whole(app), whole(app)["paths"][path][method.lower()]["responses"][status])
    return jsonschema_rs.validator_for({**told["content"][media]["schema"], "components": {"schemas": strict}})


def _closed(schema: Json) -> Json:
    """Fields may be added to what is answered; here they are told in the same change."""
    return {"additionalProperties": False, **schema} if "properties" in schema else schema
