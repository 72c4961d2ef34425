"""Values as exports write them: times in any unit, titles of any kind, ids of any length."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

MAX_TITLE = 500  # characters
MAX_DERIVED_TITLE = 80
MAX_ID = 200  # longer ids are nobody's uuid; they are replaced by their hash

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# Direction overrides can make a title read as something else; letters written right to left are untouched.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")


def moment(value: Any) -> datetime | None:
    """A time in UTC from seconds, milli-, micro- or nanoseconds, a number in a string, or ISO 8601 (UTC if unsaid).

    None for what is no time, and for years outside 1990 to 2100: zero and negative times are how exports say "unknown".
    """
    if type(value) is float and _EARLIEST <= value < _LATEST:  # nearly all of them
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        if value[4:5] == "-":  # nearly all of these
            return _from_iso(value)
        try:
            value = float(value)
        except ValueError:
            return _from_iso(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _from_number(value)


def _from_number(value: float) -> datetime | None:
    if not 0 < value < 1e19:  # false for NaN too, and an int beyond a float's range never reaches the division
        return None
    while value > 1e11:  # as seconds this is the year 5138
        value /= 1000
    return datetime.fromtimestamp(value, UTC) if _EARLIEST <= value < _LATEST else None


def _from_iso(value: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(value.strip())
        if found.tzinfo is not UTC:
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if 1990 <= found.year < 2100 else None


def title(value: Any, otherwise: str = "") -> str:
    """One clean line: the given title, else the beginning of `otherwise`, else "Untitled"."""
    given = one_line(value) if isinstance(value, str) else ""
    if given:
        return shorten(given, MAX_TITLE)
    return shorten(one_line(otherwise[:2000]), MAX_DERIVED_TITLE) or "Untitled"


def one_line(text: str) -> str:
    text = _UNSEEN.sub(" ", _TERMINAL_CODES.sub("", text))
    return " ".join(text.split())


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words where there are any, never before a combining mark."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ")
    if space > limit // 2:
        cut = cut[:space]
    elif unicodedata.combining(text[limit - 1]):
        cut = cut[:-1]
    return cut.rstrip() + "…"


def native_id(value: Any) -> str | None:
    """The id as text, None where there is none."""
    if type(value) is str and 0 < len(value) <= MAX_ID and not value.isspace():  # nearly all of them
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        return None
    return value if len(value) <= MAX_ID else digest(value)


def digest(*parts: str) -> str:
    """A stable id made from content, for what its source gave none."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def scalar(value: Any) -> str:
    """Its text; nothing for containers, which may be nested too deeply to be written."""
    return str(value) if value is None or isinstance(value, str | int | float) else ""


def whole(value: Any) -> int | None:
    """A count or size, None for anything that is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 1 << 53 else None  # false for NaN and infinity


def fenced(text: str, language: str = "") -> str:
    """A Markdown code block whose fence is longer than any inside it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def link(label: str, url: str) -> str:
    """A Markdown link; only the label where the address is not one of the web (`javascript:` is dropped)."""
    label = re.sub(r"([\[\]\\])", r"\\\1", one_line(label)) or url
    if not re.match(r"https?://[^\s<>]+$", url):
        return label if label != url else ""
    return f"[{label}]({url.replace('(', '%28').replace(')', '%29')})"


def as_json(value: Any) -> str:
    """Indented, for a person to read; as it is if it is text. Values nested too deeply are told, not written."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, indent=1)
    except (RecursionError, ValueError):
        return "[nested too deeply]"
