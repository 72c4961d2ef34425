"""Who is calling, and from where: decided once per request, before any handler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.exceptions import WebSocketException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api import limits
from api.callers import OWNER, Caller, Identified, identify, session_cookie
from api.limits import Headers
from api.media import check_media
from api.threads import reading as in_thread
from api.threads import writing
from config.errors import BackchannelError, BadRequest, Forbidden, NotFound, Unauthorized
from config.logging import log
from config.settings import Settings, get_settings, is_loopback
from storage import keys, sessions
from storage.database import DatabaseError, transaction

__all__ = ["Caller", "gate", "page_origins"]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?")
# Answers that tell nothing about anybody, the house's own pictures, and files by addresses whose signature is the
# permission.
PUBLIC_PATHS = frozenset({
    "/", "/health", "/api/health", "/docs", "/docs/openapi.json", "/redoc", "/openapi.json", "/images/{name}",
    "/api/files/{file_id}", "/docs/assets/{name}",
})  # fmt: skip
# Where people who are not signed in sign in. Counted by address, as they reach the issuer or the password hasher.
SIGN_IN_PATHS = frozenset({"/api/auth/login", "/api/auth/callback", "/api/auth/status", "/auth/login", "/auth/test"})


def gate(app: ASGIApp) -> ASGIApp:
    """Refuse names this server does not answer to and pages of other origins; then say who calls."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in (ScopeType.HTTP, ScopeType.WEBSOCKET):
            try:
                send = _telling(send, await _let_in(scope))
            except BackchannelError as error:
                if scope["type"] == ScopeType.HTTP:
                    raise
                raise WebSocketException(code=4000 + error.status, detail=error.detail) from None
        await app(scope, receive, send)

    return middleware


def _telling(send: Send, headers: Headers) -> Send:
    """`send`, with these headers on the answer where it has none of that name."""
    if not headers:
        return send

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = MutableScopeHeaders.from_message(message)
            for name, value in headers.items():
                if name != "Set-Cookie" or not any(
                    kept.startswith("session_token=") for kept in there.getall(name, [])
                ):
                    there.add(name, value)
        await send(message)

    return told


async def _let_in(scope: Scope) -> Headers:
    """Headers for the answer."""
    settings = get_settings()
    host = _check_host(_values(scope, b"host"), settings)
    if scope["type"] == ScopeType.WEBSOCKET or scope["method"] not in _SAFE_METHODS:
        _check_page(scope, host, settings)
    headers = await _admit(scope, settings)
    if "\0" in scope["path"]:
        raise NotFound("There is nothing at this address.")  # PostgreSQL takes no NUL, not even to look for it
    if scope["type"] == ScopeType.HTTP:
        check_media(scope)
    return headers


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


def page_origins(settings: Settings) -> list[str]:
    """Of pages that may call this server: those of CORS_ORIGINS, and FRONTEND_URL's without its path."""
    front = urlsplit(settings.frontend_url)
    named = [*settings.cors_origins, f"{front.scheme}://{front.netloc}" if front.netloc else ""]
    return list(dict.fromkeys(url.rstrip("/").lower() for url in named if url))


def _check_page(scope: Scope, host: str, settings: Settings) -> None:
    """Browsers tell which page drives them. Programs tell nothing, and have no cookies of others to misuse."""
    origins = _values(scope, b"origin")
    allowed = {f"http://{host}", f"https://{host}", *page_origins(settings)}
    from_elsewhere = not origins and not {"same-origin", "none"}.issuperset(_values(scope, b"sec-fetch-site"))
    if from_elsewhere or not allowed.issuperset(origins):
        raise Forbidden("Requests from pages of that origin are refused; add it to CORS_ORIGINS.")


# --- who


async def _admit(scope: Scope, settings: Settings) -> Headers:
    """Say who calls, and count it. Raises Unauthorized, TooManyRequests."""
    path = scope["path_template"]
    if path in PUBLIC_PATHS:
        scope["user"] = OWNER if settings.auth_mode == "local" else None
        return {}
    if settings.auth_mode == "local":
        scope["user"] = OWNER
        if settings.rate_limit_per_minute or settings.rate_limits:
            return await in_thread(limits.count, scope, OWNER.id, settings)
        return {}
    if path in SIGN_IN_PATHS:
        scope["user"], headers = await in_thread(_optional, scope, settings)
        return headers
    found, headers = await in_thread(_required, scope, settings)
    scope["user"] = found.caller
    return headers | await _settle(found, scope, settings)


def _required(scope: Scope, settings: Settings) -> tuple[Identified, Headers]:
    found = identify(scope)
    return found, limits.count(scope, found.caller.id, settings)


def _optional(scope: Scope, settings: Settings) -> tuple[Caller | None, Headers]:
    headers = limits.count(scope, limits.address(scope), settings)
    try:
        return identify(scope).caller, headers
    except Unauthorized:
        return None, headers


async def _settle(found: Identified, scope: Scope, settings: Settings) -> Headers:
    """Write what is owed about the credential; the request does not fail where that cannot be written now."""
    if found.owed is None or (found.owed == "rotation" and scope["type"] == ScopeType.WEBSOCKET):
        return {}
    try:
        fresh = await writing(_write, found)
    except DatabaseError as error:
        log.warning("could not write about a credential", owed=found.owed, reason=type(error).__name__)
        return {}
    return {"Set-Cookie": session_cookie(fresh, scope, settings).to_header(header="")} if fresh else {}


def _write(found: Identified) -> str | None:
    with transaction() as session:
        if found.owed == "rotation":
            return sessions.rotate(session, found.credential)
        keys.tell_use(session, found.credential)
        return None
