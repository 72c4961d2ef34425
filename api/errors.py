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
    ValidationException,
)

from config.errors import BackchannelError, BadRequest, NotFound, TooLarge, Unavailable, Unusable
from config.logging import log
from storage.database import is_away

# FAITHH's clients look for `success` and `error`.
FAITHH_PATHS = (
    "/api/chat", "/api/upload", "/api/rag_search", "/api/status", "/api/workspace", "/api/session/", "/api/avatar",
    "/api/models", "/images",
)  # fmt: skip


def problem(request: Request[Any, Any, Any], error: BackchannelError) -> Response[dict[str, Any]]:
    body: dict[str, Any] = {
        "type": f"urn:backchannel:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.errors:
        body["errors"] = error.errors
    if request.url.path.startswith(FAITHH_PATHS):
        body |= {"success": False, "error": error.detail}
    return Response(body, status_code=error.status, headers=error.headers, media_type="application/problem+json")


def on_known(request: Request[Any, Any, Any], error: BackchannelError) -> Response[dict[str, Any]]:
    return problem(request, error)


def on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    return problem(request, _translate(error))


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    if isinstance(error, redis.RedisError):
        return problem(request, Unavailable("Redis cannot be reached right now.", headers={"Retry-After": "2"}))
    if is_away(error):
        log.error("database away", reason=str(error.__cause__ or error)[:200])
        return problem(request, Unavailable("The database cannot be reached right now.", headers={"Retry-After": "2"}))
    log.exception("unexpected failure", path=request.url.path, exc_info=error)
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
    if isinstance(error, ClientException) and error.status_code == 400:
        return BadRequest(
            "The request body is not valid JSON."
            if "JSON" in error.detail or "decod" in error.detail.lower()
            else error.detail
        )
    return _Status(error.status_code, "http_error", "Error", error.detail, error.headers)


def _errors(error: ValidationException) -> list[dict[str, Any]]:
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        {"field": item.get("key", ""), "message": item.get("message", "")} for item in extra if isinstance(item, dict)
    ]


class _Status(BackchannelError):
    """An error of the framework that has no word of ours."""

    def __init__(self, status: int, code: str, title: str, detail: str, headers: Any) -> None:
        super().__init__(detail, headers=dict(headers or {}))
        self.status, self.code, self.title = status, code, title  # type: ignore[misc]


HANDLERS: dict[Any, Any] = {BackchannelError: on_known, HTTPException: on_http, Exception: on_unexpected}
