"""JSON nested deeper than the standard library's recursive decoder can follow. Slow, so only where that gave up."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 500_000  # a tree of replies has two for each

_SCALARS = json.JSONDecoder(strict=False, parse_constant=lambda _: None)
_BLANKS = re.compile(r"[\s,]*")  # commas are not checked: the brackets were


def decode(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends. Raises ValueError."""
    holder: list[Any] = []
    containers: list[Any] = [holder]
    while not holder or len(containers) > 1:
        at = _after(_BLANKS, text, at)
        container = containers[-1]
        mark = text[at : at + 1]
        if container is not holder and mark == ("}" if isinstance(container, dict) else "]"):
            containers.pop()
            at += 1
            continue
        key = None
        if isinstance(container, dict):
            key, at = _key(text, at)
            mark = text[at : at + 1]
        value: Any = {} if mark == "{" else []
        if mark in ("{", "["):
            containers.append(value)
            at += 1
        else:
            value, at = _SCALARS.raw_decode(text, at)
        if isinstance(container, dict):
            container[key] = value
        else:
            container.append(value)
        if len(containers) > MAX_DEPTH:
            raise ValueError("nested too deeply")
    return holder[0], at


def _key(text: str, at: int) -> tuple[str, int]:
    key, at = _SCALARS.raw_decode(text, at)
    at = _after(_BLANKS, text, at)
    if not isinstance(key, str) or text[at : at + 1] != ":":
        raise ValueError("a key is missing")
    return key, _after(_BLANKS, text, at + 1)


def _after(what: re.Pattern[str], text: str, at: int) -> int:
    found = what.match(text, at)
    return found.end() if found else at
