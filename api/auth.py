"""Who is calling, and from where: decided once per request, before any handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from config.errors import BadRequest, Forbidden, Unauthorized
from config.settings import Settings, get_settings, is_loopback
from storage.tables import LOCAL_OWNER

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Answers that tell nothing about anybody.
PUBLIC_PATHS = frozenset({"/", "/health", "/docs", "/redoc", "/openapi.json"})


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` owns what is made and seen."""

    id: str
    role: Literal["user", "admin", "service"]


def gate(app: ASGIApp) -> ASGIApp:
    """Refuse names this server does not answer to and pages of other origins; then say who calls."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in (ScopeType.HTTP, ScopeType.WEBSOCKET):
            settings = get_settings()
            headers = {
                name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"host", b"origin")
            }
            host = headers.get(b"host", "")
            _check_host(host, settings)
            origin = headers.get(b"origin")
            if origin is not None and (scope["type"] == ScopeType.WEBSOCKET or scope["method"] not in _SAFE_METHODS):
                _check_origin(origin, host, settings)
            scope["user"] = _identify(scope["path"], settings)
        await app(scope, receive, send)

    return middleware


def _check_host(host: str, settings: Settings) -> None:
    """A page elsewhere can point its own name at 127.0.0.1 (DNS rebinding); it cannot choose the Host we answer to."""
    name = (urlsplit(f"//{host}").hostname or "").lower()
    if not name:
        raise BadRequest("The Host header is missing.")
    known = (
        name == settings.host.lower()
        or is_loopback(name)
        or name in settings.allowed_hosts
        or host in settings.allowed_hosts
    )
    if not known and (settings.auth_mode == "local" or settings.allowed_hosts):
        raise Forbidden("This server does not answer to that name; add it to ALLOWED_HOSTS.")


def _check_origin(origin: str, host: str, settings: Settings) -> None:
    allowed = (*settings.cors_origins, settings.frontend_url.rstrip("/"))
    if origin.rstrip("/") in allowed or urlsplit(origin).netloc.lower() == host.lower():
        return
    raise Forbidden("Requests from pages of that origin are refused; add it to CORS_ORIGINS.")


def _identify(path: str, settings: Settings) -> Caller | None:
    if settings.auth_mode == "local":
        return Caller(LOCAL_OWNER, "admin")
    if path in PUBLIC_PATHS:
        return None
    raise Unauthorized("Sign in first.")
