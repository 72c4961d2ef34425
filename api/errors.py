"""Every error leaves as application/problem+json; nothing inside (paths, traces, secrets) leaves at all."""

from __future__ import annotations

from typing import Any

import redis
from litestar import Request, Response
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)

from config.errors import BackchannelError, BadRequest, NotFound, TooLarge, Unavailable, Unusable
from config.logging import log
from storage.database import is_away, is_unstorable

# FAITHH's clients look for `success` and `error`.
FAITHH_PATHS = (
    "/api/chat", "/api/upload", "/api/rag_search", "/api/status", "/api/workspace", "/api/session/", "/api/avatar",
    "/api/models", "/images",
)  # fmt: skip

# What a caller sent may come back in an error, but never at any length.
MAX_DETAIL, MAX_FIELD, MAX_ERRORS = 300, 100, 20
# The framework's words for a caller that left while it was sending: nobody hears the answer, and nothing is wrong here.
_GONE = "client disconnected prematurely"


def problem(request: Request[Any, Any, Any], error: BackchannelError) -> Response[dict[str, Any]]:
    detail = _short(error.detail, MAX_DETAIL)
    body: dict[str, Any] = {
        "type": f"urn:backchannel:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": detail,
        "code": error.code,
    }
    if error.errors:
        body["errors"] = [
            {"field": _short(item["field"], MAX_FIELD), "message": _short(item["message"], MAX_DETAIL)}
            for item in error.errors[:MAX_ERRORS]
        ]
    if request.scope["path"].startswith(FAITHH_PATHS):
        body |= {"success": False, "error": detail}
    return Response(body, status_code=error.status, headers=error.headers, media_type="application/problem+json")


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def on_known(request: Request[Any, Any, Any], error: BackchannelError) -> Response[dict[str, Any]]:
    return problem(request, error)


def on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    if error.status_code >= 500 and error.detail != _GONE:
        return on_unexpected(request, error)
    return problem(request, _translate(error))


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, BackchannelError):
        return problem(request, error)
    if isinstance(error, RecursionError):
        return problem(request, Unusable("The request is nested too deeply."))
    if is_unstorable(error):
        return problem(request, Unusable("The request holds a value that cannot be stored."))
    if isinstance(error, redis.RedisError):
        return problem(request, Unavailable("Redis cannot be reached right now.", headers={"Retry-After": "2"}))
    if is_away(error):
        log.error("database away", reason=str(error.__cause__ or error)[:200])
        return problem(request, Unavailable("The database cannot be reached right now.", headers={"Retry-After": "2"}))
    log.exception("unexpected failure", path=request.scope["path"], exc_info=error)
    return problem(request, BackchannelError("Something went wrong inside; the server's log has the details."))


def _translate(error: HTTPException) -> BackchannelError:
    if isinstance(error, ValidationException):
        return Unusable("The request holds values that cannot be used.", errors=_errors(error))
    if isinstance(error, NotFoundException):
        return NotFound("There is nothing at this address.")
    if isinstance(error, MethodNotAllowedException):
        return _Status(
            405, "method_not_allowed", "Method not allowed", "This address does not take that method.", error.headers
        )
    if error.status_code == 413:
        return TooLarge("The request body is too large.")
    if isinstance(error.__cause__, SerializationException):
        return BadRequest("The request body is not valid JSON.")
    if isinstance(error, ClientException) and error.status_code == 400:
        return BadRequest(_sentence(error.detail))
    return _Status(error.status_code, "http_error", "Error", _sentence(error.detail), error.headers)


def _errors(error: ValidationException) -> list[dict[str, Any]]:
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        {"field": item.get("key", ""), "message": in_words(item.get("message", ""))}
        for item in extra
        if isinstance(item, dict)
    ] or [{"field": "", "message": error.detail}]


def in_words(message: str) -> str:
    """A validator's message as a sentence for the caller."""
    if message == "'data'":  # how the framework says it
        return "A body is missing"
    return message.removeprefix("Value error, ")


class _Status(BackchannelError):
    """An error of the framework that has no word of ours."""

    def __init__(self, status: int, code: str, title: str, detail: str, headers: Any) -> None:
        super().__init__(detail, headers=dict(headers or {}))
        self.status, self.code, self.title = status, code, title  # type: ignore[misc]


HANDLERS: dict[Any, Any] = {BackchannelError: on_known, HTTPException: on_http, Exception: on_unexpected}
