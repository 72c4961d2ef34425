"""/api/auth: signing in with an issuer, out, and who is signed in; /auth: passwords for bearer tokens."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.params import Parameter
from litestar.response import Redirect
from pydantic import Field

from api import limits, oidc, tokens
from api.callers import SESSION_COOKIE, Caller, is_https, session_cookie, unauthorized
from api.intake import AnyRequest
from api.schemas import Body
from api.threads import reading as in_thread
from api.threads import writing
from api.views import iso
from config.errors import BadRequest, Conflict, Forbidden
from config.identity import OidcProvider, oidc_provider
from config.logging import log
from config.settings import Settings, get_settings
from storage import identities, passwords, sessions, users
from storage.database import Session, is_duplicate, reading, transaction
from storage.identities import Claims
from storage.tables import User

Json = dict[str, Any]
MaybeRequest = Request[Caller | None, Any, Any]

_CALLBACK = "/api/auth/callback"
_ATTEMPT_COOKIE = "sign_in_"
_NO_STORE = {"Cache-Control": "no-store"}
# A password takes 64 MiB and 50 ms to check: two at a time leave memory and a core to all others.
_CHECKS_AT_ONCE = 2
_checks: anyio.CapacityLimiter | None = None


class LoginIn(Body):
    username: str = Field(min_length=1, max_length=254)
    password: str = Field(min_length=1, max_length=passwords.MAX_CHARS)


class SignInController(Controller):
    path = "/api/auth"
    tags = ["sign-in"]  # noqa: RUF012

    @get("/login", status_code=302, summary="Go to the issuer to sign in")
    async def login(self, request: MaybeRequest) -> Redirect:
        settings = get_settings()
        if settings.auth_mode == "local":  # whoever gets here is signed in
            return Redirect(_home(settings), status_code=302, headers=_NO_STORE)
        url, attempt = await oidc.begin(_provider(settings))
        answer = Redirect(url, status_code=302, headers=_NO_STORE)
        answer.set_cookie(_attempt_cookie(attempt.state, tokens.make_attempt(attempt), request, settings))
        return answer

    @get("/callback", status_code=302, summary="Come back from the issuer")
    async def callback(
        self,
        request: MaybeRequest,
        code: Annotated[str, Parameter(max_length=4000)] = "",
        returned: Annotated[str, Parameter(query="state", max_length=200)] = "",
        error: Annotated[str, Parameter(max_length=200)] = "",
        iss: Annotated[str, Parameter(max_length=1000)] = "",
    ) -> Redirect:
        settings = get_settings()
        provider = _provider(settings)
        attempt = tokens.read_attempt(request.cookies.get(_ATTEMPT_COOKIE + returned[:8], ""))
        if (
            attempt is None
            or attempt.state != returned
            or not await in_thread(limits.spend_once, returned, tokens.ATTEMPT_S)
        ):
            raise BadRequest("This sign-in was not begun in this browser, or is over already; begin again.")
        if error:
            raise _refused(error)
        if not code or (iss and provider.issuer and iss.rstrip("/") != provider.issuer):
            raise BadRequest("The sign-in service's answer is not complete; begin again.")
        claims = await oidc.finish(provider, code, attempt)
        _check_allowed(claims, settings)
        agent = request.headers.get("user-agent", "")
        token = await writing(_begin_session, claims, request.cookies.get(SESSION_COOKIE), agent)
        answer = Redirect(_home(settings), status_code=302, headers=_NO_STORE)
        answer.set_cookie(session_cookie(token, request.scope, settings))
        answer.delete_cookie(_ATTEMPT_COOKIE + returned[:8], path=_CALLBACK)
        return answer

    @get("/me", summary="Who you are")
    async def me(self, request: AnyRequest) -> Json:
        return await in_thread(_shown, request.user.id)

    @get("/status", summary="Whether you are signed in, and how you could")
    async def status(self, request: MaybeRequest) -> Response[Json]:
        settings, caller = get_settings(), request.user
        user = await in_thread(_shown, caller.id) if caller is not None else None
        ways = {"password": "/auth/login", **({"oidc": "/api/auth/login"} if oidc_provider(settings) else {})}
        body = {"authenticated": user is not None, "user": user, "auth_mode": settings.auth_mode, "sign_in": ways}
        return Response(body, headers=_NO_STORE)

    @post("/logout", status_code=200, summary="End this browser's session")
    async def logout(self, request: AnyRequest) -> Response[Json]:
        token = request.cookies.get(SESSION_COOKIE)
        if token:
            await writing(_end_session, token)
        answer = Response({"success": True, "message": "Signed out."}, headers=_NO_STORE)
        answer.delete_cookie(SESSION_COOKIE, path="/")
        return answer

    @delete("/cleanup", status_code=200, summary="Forget sessions that are over; for admins")
    async def cleanup(self, request: AnyRequest) -> Json:
        if request.user.role != "admin":
            raise Forbidden("Only an admin may do that.")
        removed = await writing(_forget_expired)
        return {"success": True, "message": f"Removed {removed} expired sessions.", "removed": removed}


def _provider(settings: Settings) -> OidcProvider:
    provider = oidc_provider(settings)
    if provider is None:
        raise Conflict("Nobody is set up to sign in with: GOOGLE_CLIENT_ID or OIDC_ISSUER would name a service.")
    return provider


def _home(settings: Settings) -> str:
    """Never what a request says: a sign-in that ends elsewhere is a trap."""
    return settings.frontend_url or "/"


def _attempt_cookie(state: str, value: str, request: MaybeRequest, settings: Settings) -> Cookie:
    """One for each tab that signs in."""
    return Cookie(
        _ATTEMPT_COOKIE + state[:8], value=value, path=_CALLBACK, max_age=tokens.ATTEMPT_S, httponly=True,
        samesite="lax", secure=is_https(request.scope, settings),
    )  # fmt: skip


def _refused(error: str) -> Exception:
    if error == "access_denied":
        return Forbidden("You were not signed in, because you or the sign-in service did not agree.")
    return BadRequest("The sign-in service could not sign you in; begin again.")


def _check_allowed(claims: Claims, settings: Settings) -> None:
    allowed = {entry.lower() for entry in settings.oidc_allowed}
    email = claims.email.lower()
    if allowed and (not email or allowed.isdisjoint({email, "@" + email.rpartition("@")[2]})):
        raise Forbidden("This address may not sign in here.")


def _begin_session(claims: Claims, earlier: str | None, agent: str) -> str:
    try:
        return _begin_session_once(claims, earlier, agent)
    except Exception as error:
        if not is_duplicate(error):
            raise
        # A first sign-in in two tabs at the same moment: the other was first, and now the person is found.
        return _begin_session_once(claims, earlier, agent)


def _begin_session_once(claims: Claims, earlier: str | None, agent: str) -> str:
    with transaction() as session:
        user = identities.signed_in(session, claims)
        if earlier:
            sessions.end(session, earlier)
        return sessions.begin(session, user.id, agent)


def _end_session(token: str) -> None:
    with transaction() as session:
        sessions.end(session, token)


def _forget_expired() -> int:
    with transaction() as session:
        return sessions.forget_expired(session)


def _shown(user_id: str) -> Json:
    with reading() as session:
        user = users.get(session, user_id)
    names = ("id", "name", "username", "email", "role", "is_active")
    return {name: getattr(user, name) for name in names} | {
        "is_admin": user.role == "admin",
        "created_at": iso(user.created_at),
    }


# --- passwords


@post("/auth/login", status_code=200, tags=["sign-in"], summary="A bearer token for a name and a password")
async def password_login(request: MaybeRequest, data: LoginIn) -> Response[Json]:
    global _checks  # noqa: PLW0603 - a limiter belongs to a running loop
    _checks = _checks or anyio.CapacityLimiter(_CHECKS_AT_ONCE)
    where = limits.address(request.scope)
    user = await anyio.to_thread.run_sync(_check_password, data, where, limiter=_checks)
    body = {
        "access_token": tokens.make_access(user.id, user.password_hash),
        "token_type": "bearer",
        "expires_in": get_settings().access_token_minutes * 60,
        "user_id": user.id,
        "username": user.username or user.email,
        "is_admin": user.role == "admin",
    }
    return Response(body, headers=_NO_STORE)


def _check_password(data: LoginIn, where: str) -> User:
    """Raises Unauthorized, in the same words and after the same time for a name that nobody has."""
    settings = get_settings()
    limits.begin_login(data.username, where, settings)
    with reading() as session:
        user = users.find(session, data.username)
    known = user.password_hash if user is not None and user.is_active else None
    if not passwords.is_right(data.password, known) or user is None or known is None:
        raise unauthorized("The name or the password is wrong.")
    limits.forgive_login(data.username, where, settings)
    if passwords.is_outdated(known):
        user = _rehashed(user.id, data.password)
    return user


def _rehashed(user_id: str, password: str) -> User:
    with transaction() as session:
        user = users.get(session, user_id)
        user.password_hash = passwords.hashed(password)
        session.add(user)
        return user


@get("/auth/test", tags=["sign-in"], summary="Does signing in work?")
async def auth_test(request: MaybeRequest) -> Json:
    return {"status": "ok", "message": "The auth service works.", "authenticated": request.user is not None}


def say_who_can_sign_in(session: Session) -> None:
    """At the start, where everyone has to sign in and nobody could as an admin."""
    if get_settings().auth_mode == "required" and not users.has_admin(session):
        log.warning("no admin can sign in yet; make one: backchannel user add --admin NAME")


ROUTES: list[Any] = [SignInController, password_login, auth_test]
