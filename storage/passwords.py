"""Passwords, as Argon2id with the library's own parameters (RFC 9106's second choice: 64 MiB, 50 ms)."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from config.errors import Unusable

MIN_CHARS, MAX_CHARS = 12, 1000
_hasher = PasswordHasher()


def check_usable(password: str, username: str) -> None:
    """Raises Unusable. Length is what counts; rules about digits and signs make passwords worse."""
    if len(password) < MIN_CHARS:
        raise Unusable(f"A password has at least {MIN_CHARS} characters.")
    if len(password) > MAX_CHARS:
        raise Unusable(f"A password has at most {MAX_CHARS} characters.")
    if len(set(password)) < 5 or password.casefold() == username.casefold():
        raise Unusable("That password is too easy to guess.")


def hashed(password: str) -> str:
    return _hasher.hash(password.encode(errors="replace"))


def is_right(password: str, known: str | None) -> bool:
    """Takes as long for somebody without a password, so that nobody learns who is there."""
    try:
        _hasher.verify(known or _nobodys(), password[: MAX_CHARS + 1].encode(errors="replace"))
    except (Argon2Error, InvalidHashError):
        return False
    return known is not None


def is_outdated(known: str) -> bool:
    return _hasher.check_needs_rehash(known)


@cache
def _nobodys() -> str:
    return hashed("")
