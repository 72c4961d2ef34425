"""Tokens that carry their own meaning, signed by this server: bearer tokens, and the memory of a sign-in under way."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import asdict, dataclass

import jwt

from config.settings import get_settings
from storage.secrets import app_secret

_ALGORITHM = "HS256"
_ACCESS, _ATTEMPT = "backchannel", "backchannel sign-in"
ATTEMPT_S = 600  # a person types a password, and looks for a second factor


@dataclass(frozen=True, slots=True)
class Attempt:
    """What ties an issuer's answer to the browser that asked."""

    state: str
    nonce: str
    code_verifier: str


def _key() -> bytes:
    return hmac.digest(app_secret(), b"tokens", hashlib.sha256)


def password_mark(password_hash: str | None) -> str:
    """Changes with the password, so that its tokens end with it."""
    return hashlib.sha256((password_hash or "").encode()).hexdigest()[:16]


def make_access(user_id: str, password_hash: str | None) -> str:
    now = int(time.time())
    until = now + get_settings().access_token_minutes * 60
    claims = {"sub": user_id, "mark": password_mark(password_hash), "iat": now, "exp": until, "aud": _ACCESS}
    return jwt.encode(claims, _key(), _ALGORITHM)


def read_access(token: str) -> tuple[str, str] | None:
    """The user's id and the mark of the password it was given for; None when it is not ours or no longer good."""
    claims = _read(token, _ACCESS, "sub", "mark")
    return (claims["sub"], claims["mark"]) if claims is not None else None


def make_attempt(attempt: Attempt) -> str:
    claims = {**asdict(attempt), "exp": int(time.time()) + ATTEMPT_S, "aud": _ATTEMPT}
    return jwt.encode(claims, _key(), _ALGORITHM)


def read_attempt(token: str) -> Attempt | None:
    claims = _read(token, _ATTEMPT, "state", "nonce", "code_verifier")
    return Attempt(claims["state"], claims["nonce"], claims["code_verifier"]) if claims is not None else None


def _read(token: str, audience: str, *names: str) -> dict[str, str] | None:
    required = {"require": ["exp", "aud", *names]}
    try:
        claims = jwt.decode(token, _key(), algorithms=[_ALGORITHM], audience=audience, options=required)  # type: ignore[arg-type]
    except (jwt.InvalidTokenError, ValueError):
        return None
    return claims if all(isinstance(claims[name], str) for name in names) else None
