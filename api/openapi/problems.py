"""Errors as the document tells them: one answer for each status, made of the error tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict

from api.openapi.shapes import Operation, eg
from config.errors import BackchannelError

Json = dict[str, Any]
PROBLEM_JSON = "application/problem+json"
# Statuses whose answers say when to come back.
_LATER = (429, 503)


class FieldProblem(TypedDict):
    field: Annotated[str, eg("message")]
    message: Annotated[str, eg("must not be blank")]


class Problem(TypedDict):
    """RFC 9457: what went wrong, for a person (`detail`) and for a program (`code`)."""

    type: Annotated[str, eg("urn:backchannel:not_found")]
    title: Annotated[str, eg("Not found")]
    status: Annotated[int, eg(404)]
    detail: Annotated[str, eg("There is no job of yours with that id.")]
    code: Annotated[str, eg("not_found")]
    errors: NotRequired[Annotated[list[FieldProblem], eg([], "Of a body or a query: one for each bad field")]]
    success: NotRequired[Annotated[bool, eg(False, "Where FAITHH's clients look for it")]]
    error: NotRequired[Annotated[str, eg("Not found.", "Where FAITHH's and Slack's clients look for it")]]


_DETAILS = {
    400: "The request body is not valid JSON.",
    401: "Sign in first.",
    403: "Only an admin may do that.",
    404: "There is nothing here by that id.",
    409: "The conversation is locked.",
    413: "The request body is too large.",
    415: "This address takes a body of type application/json.",
    422: "The request holds values that cannot be used.",
    429: "You may do this 1200 times a minute; wait a moment.",
    500: "Something went wrong inside; the server's log has the details.",
    502: "The provider refused the request.",
    503: "The database cannot be reached right now.",
    504: "The answer was not complete when it had to be.",
    507: "There is not enough room on the disk.",
}


def statuses(method: str, operation: Json, described: Operation, *, is_public: bool, signs_in: bool) -> list[int]:
    """What this operation can answer besides what it is for. `operation` has its parameters and its body."""
    found = {400, 403, 500, *described.errors}
    parameters = operation.get("parameters", ())
    if not is_public:
        found |= {429, 503} | (set() if signs_in else {401})
    if any(one.get("in") == "path" for one in parameters):
        found.add(404)
    if any(one.get("in") == "query" for one in parameters):
        found.add(422)
    if method in ("POST", "PUT", "PATCH"):
        found.add(415)
    if "requestBody" in operation:
        found |= {413, 422}
    if described.makes_job:
        found |= {409, 422, 502, 504, 507}
    return sorted(found)


def components() -> Json:
    """Status → its answer, as components/responses has them."""
    by_status: dict[int, list[type[BackchannelError]]] = {}
    for error in _all(BackchannelError):
        by_status.setdefault(error.status, []).append(error)
    return {str(status): _response(status, errors) for status, errors in sorted(by_status.items())}


def _all(error: type[BackchannelError]) -> Iterator[type[BackchannelError]]:
    if error.__module__ == BackchannelError.__module__:
        yield error
        for kind in error.__subclasses__():
            yield from _all(kind)


def _response(status: int, errors: list[type[BackchannelError]]) -> Json:
    first = errors[0]
    example = {
        "type": f"urn:backchannel:{first.code}",
        "title": first.title,
        "status": status,
        "detail": _DETAILS[status],
        "code": first.code,
    }
    if status == 422:
        example["errors"] = [{"field": "message", "message": "must not be blank"}]
    headers: Json = {}
    if status in _LATER:
        headers["Retry-After"] = {"description": "Seconds", "schema": {"type": "integer", "minimum": 0}}
    if status == 401:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}, "example": 'Bearer realm="Backchannel"'}
    codes = ", ".join(f"`{error.code}`" for error in errors)
    return {
        "description": f"{first.title}: {codes}",
        **({"headers": headers} if headers else {}),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
