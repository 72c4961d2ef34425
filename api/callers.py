"""Who is calling: an API key, a bearer token or a browser's session, each by one indexed query at most."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, cast

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.types import Scope

from api import tokens
from config.errors import Unauthorized
from config.identity import oidc_provider
from config.settings import Settings
from storage import keys, sessions
from storage.database import Session, reading
from storage.opaque import digest
from storage.tables import LOCAL_OWNER, User

Role = Literal["user", "admin", "service"]
SESSION_COOKIE = "session_token"
# How long a bearer token outlives its owner's being disabled, at most.
_KNOWN_S = 5.0
_MAX_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` owns what is made and seen."""

    id: str
    role: Role


OWNER = Caller(LOCAL_OWNER, "admin")


@dataclass(frozen=True, slots=True)
class Identified:
    """`owed` is what is to be written about the credential: a session's next token, or that a key was used."""

    caller: Caller
    owed: Literal["rotation", "use"] | None = None
    credential: str = ""


def identify(scope: Scope) -> Identified:
    """By the first credential that is there; a bad one is refused, whatever stands beside it. Raises Unauthorized."""
    connection = ASGIConnection(scope)  # type: ignore[var-annotated]
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind:
        if kind.lower() != "bearer":
            raise unauthorized("This server takes bearer tokens, API keys and sessions; sign in with one of these.")
        return _by_bearer(token.strip())
    if (key := connection.headers.get("x-api-key")) is not None:
        return _by_key(key.strip())
    if cookie := connection.cookies.get(SESSION_COOKIE):
        return _by_session(cookie)
    raise unauthorized("Sign in first.")


def unauthorized(detail: str) -> Unauthorized:
    return Unauthorized(detail, headers={"WWW-Authenticate": 'Bearer realm="Backchannel"'})


def _caller(user: User) -> Caller:
    return Caller(user.id, cast("Role", user.role))


def _by_key(key: str) -> Identified:
    with reading() as session:
        found = keys.find(session, key)
    if found is None:
        raise unauthorized("This API key is unknown or was revoked.")
    row, user = found
    return Identified(_caller(user), "use" if keys.is_use_untold(row) else None, row.id)


def _by_session(token: str) -> Identified:
    with reading() as session:
        found = sessions.find(session, token)
    if found is None:
        raise unauthorized("Your session is over; sign in again.")
    row, user = found
    is_due = row.previous_hash != digest(token) and sessions.is_half_over(row)
    return Identified(_caller(user), "rotation" if is_due else None, token)


# user id → (until when this is taken for true, caller or None, mark of the password)
_known: dict[str, tuple[float, Caller | None, str]] = {}


def _by_bearer(token: str) -> Identified:
    claims = tokens.read_access(token)
    if claims is None:
        raise unauthorized("This token is not good, or not any more; sign in again.")
    user_id, mark = claims
    until, caller, current = _known.get(user_id, (0.0, None, ""))
    if until < time.monotonic():
        with reading() as session:
            caller, current = _look_up(session, user_id)
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[user_id] = (time.monotonic() + _KNOWN_S, caller, current)
    if caller is None or mark != current:
        raise unauthorized("This token is not good any more; sign in again.")
    return Identified(caller)


def _look_up(session: Session, user_id: str) -> tuple[Caller | None, str]:
    user = session.get(User, user_id)
    if user is None or not user.is_active:
        return None, ""
    return _caller(user), tokens.password_mark(user.password_hash)


# --- cookies


def session_cookie(token: str, scope: Scope, settings: Settings) -> Cookie:
    """For this whole site, out of reach of scripts, and not sent along by pages elsewhere."""
    life_s = settings.session_expire_hours * 3600
    return Cookie(
        SESSION_COOKIE, value=token, path="/", max_age=life_s, httponly=True, samesite="lax",
        secure=is_https(scope, settings),
    )  # fmt: skip


def is_https(scope: Scope, settings: Settings) -> bool:
    """Whether browsers reach this server by https; behind a proxy only the redirect URI tells."""
    provider = oidc_provider(settings)
    return scope["scheme"] in ("https", "wss") or (provider is not None and provider.redirect_uri.startswith("https:"))
