"""Tokens that mean nothing by themselves. The database knows their SHA-256 only: they are random, so that a slow hash
would protect nothing more."""

from __future__ import annotations

import hashlib
import secrets

_BYTES = 32


def new_token(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(_BYTES)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
