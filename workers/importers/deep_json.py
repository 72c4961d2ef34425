"""JSON nested deeper than the standard library's recursive decoder can follow. Slow, so only where that gave up."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 50_000

_SCALARS = json.JSONDecoder(strict=False, parse_constant=lambda _: None)
_BLANK = re.compile(r"\s*")


def decode(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends. Raises ValueError."""
    holder: list[Any] = []
    containers: list[Any] = [holder]
    keys: list[str | None] = [None]
    while True:
        at = _after_blanks(text, at)
        mark = text[at : at + 1]
        container = containers[-1]
        if mark in ("}", "]"):
            if mark != ("}" if isinstance(container, dict) else "]") or container is holder:
                raise ValueError("a bracket closes what it did not open")
            containers.pop()
            keys.pop()
            at += 1
        elif mark == "," and container is not holder:
            at += 1
            continue
        else:
            if isinstance(container, dict):
                keys[-1], at = _key(text, at)
                mark = text[at : at + 1]
            if mark in ("{", "["):
                if len(containers) > MAX_DEPTH:
                    raise ValueError("nested too deeply")
                value: Any = {} if mark == "{" else []
                at += 1
            else:
                value, at = _SCALARS.raw_decode(text, at)
            if isinstance(container, dict):
                container[keys[-1]] = value
            else:
                container.append(value)
            if mark in ("{", "["):
                containers.append(value)
                keys.append(None)
        if len(containers) == 1:
            return holder[0], at


def _key(text: str, at: int) -> tuple[str, int]:
    key, at = _SCALARS.raw_decode(text, at)
    at = _after_blanks(text, at)
    if not isinstance(key, str) or text[at : at + 1] != ":":
        raise ValueError("a key is missing")
    return key, _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
