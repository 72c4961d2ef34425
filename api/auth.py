"""Who is calling, and from where: decided once per request, before any handler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from litestar.enums import ScopeType
from litestar.exceptions import WebSocketException
from litestar.types import ASGIApp, Receive, Scope, Send

from api.media import check_media
from config.errors import BackchannelError, BadRequest, Forbidden, NotFound, Unauthorized
from config.settings import Settings, get_settings, is_loopback
from storage.tables import LOCAL_OWNER

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?")
# Answers that tell nothing about anybody.
PUBLIC_PATHS = frozenset({"/", "/health", "/docs", "/docs/openapi.json", "/redoc", "/openapi.json"})


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` owns what is made and seen."""

    id: str
    role: Literal["user", "admin", "service"]


def gate(app: ASGIApp) -> ASGIApp:
    """Refuse names this server does not answer to and pages of other origins; then say who calls."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in (ScopeType.HTTP, ScopeType.WEBSOCKET):
            try:
                _let_in(scope)
            except BackchannelError as error:
                if scope["type"] == ScopeType.HTTP:
                    raise
                raise WebSocketException(code=4000 + error.status, detail=error.detail) from None
        await app(scope, receive, send)

    return middleware


def _let_in(scope: Scope) -> None:
    settings = get_settings()
    host = _check_host(_values(scope, b"host"), settings)
    if scope["type"] == ScopeType.WEBSOCKET or scope["method"] not in _SAFE_METHODS:
        for origin in _values(scope, b"origin"):
            _check_origin(origin, host, settings)
    scope["user"] = _identify(scope["path"], settings)
    if "\0" in scope["path"]:
        raise NotFound("There is nothing at this address.")  # PostgreSQL takes no NUL, not even to look for it
    if scope["type"] == ScopeType.HTTP:
        check_media(scope)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in scope["headers"] if key == name]


def _check_host(hosts: Sequence[str], settings: Settings) -> str:
    """A page elsewhere can point its own name at 127.0.0.1 (DNS rebinding); it cannot choose the Host we answer to."""
    parts = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if parts is None:
        raise BadRequest("The Host header is missing or malformed.")
    allowed = {name.lower() for name in (settings.host, *settings.allowed_hosts)}
    known = is_loopback(parts[1]) or not allowed.isdisjoint({hosts[0], parts[1], parts[1].strip("[]")})
    if not known and (settings.auth_mode == "local" or settings.allowed_hosts):
        raise Forbidden("This server does not answer to that name; add it to ALLOWED_HOSTS.")
    return hosts[0]


def _check_origin(origin: str, host: str, settings: Settings) -> None:
    allowed = {url.rstrip("/").lower() for url in (*settings.cors_origins, settings.frontend_url) if url}
    if origin in allowed or origin in (f"http://{host}", f"https://{host}"):
        return
    raise Forbidden("Requests from pages of that origin are refused; add it to CORS_ORIGINS.")


def _identify(path: str, settings: Settings) -> Caller | None:
    if settings.auth_mode == "local":
        return Caller(LOCAL_OWNER, "admin")
    if path in PUBLIC_PATHS:
        return None
    raise Unauthorized("Sign in first.")
