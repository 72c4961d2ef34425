"""A body comes in a type its address takes, or not at all (415)."""

from __future__ import annotations

from litestar.types import HTTPScope

from config.errors import WrongMedia

JSON, FORM = "application/json", "multipart/form-data"
# What a handler takes when it is not JSON: `opt={TAKES: (FORM,)}`.
TAKES = "takes"

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def check_media(scope: HTTPScope) -> None:
    """Raises WrongMedia."""
    headers = dict(scope["headers"])
    empty = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
    if empty or scope["method"] not in _METHODS_WITH_BODY:
        return
    taken: tuple[str, ...] = scope["route_handler"].opt.get(TAKES, (JSON,))
    given = media_type(headers.get(b"content-type", b""))
    if given not in taken and not (JSON in taken and is_json(given)):
        raise WrongMedia(f"This address takes a body of type {' or '.join(taken)}.")


def media_type(content_type: bytes) -> str:
    return content_type.decode("latin-1").partition(";")[0].strip().lower()


def is_json(given: str) -> bool:
    return given == JSON or (given.startswith("application/") and given.endswith("+json"))
