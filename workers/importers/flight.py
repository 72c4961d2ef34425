"""What a Next.js page carries for its components: rows in pieces of script, `self.__next_f.push([1,"…"])`.

A row is `<id in hex>:<JSON>`, or `<id>:T<bytes in hex>,<text>` for a long text, to which the JSON of others points with
"$<id>". Rows of other kinds (modules, hints) carry nothing to read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PUSH = re.compile(r"__next_f\.push\(\s*\[\s*1\s*,\s*(?=\")")
_ROW = re.compile(r"\s*([0-9a-f]{0,8}):(?:T([0-9a-f]{1,8}),)?")
_STRINGS = json.JSONDecoder(strict=False, parse_constant=lambda _: None)
_REFERENCE = re.compile(r"\$([0-9a-f]{1,8})")


def values_of(page: str) -> Iterator[Any]:
    """The JSON of every row that is readable, with the long texts in their places."""
    texts: dict[str, str] = {}
    found: list[Any] = []
    for name, text, value in _rows(_stream(page)):
        if text is not None:
            texts[name] = text
        else:
            found.append(value)
    for value in found:
        holder = [value]
        _resolve(holder, texts)
        yield holder[0]


def _stream(page: str) -> str:
    pieces: list[str] = []
    for push in _PUSH.finditer(page):
        try:
            piece, _ = _STRINGS.raw_decode(page, push.end())
        except ValueError:  # cut off
            continue
        pieces.append(piece)
    return "".join(pieces)


def _rows(stream: str) -> Iterator[tuple[str, str | None, Any]]:
    """(id, long text, JSON): one of the latter two is None."""
    at = 0
    while at < len(stream):
        row = _ROW.match(stream, at)
        if row and row.group(2):
            text, at = _text(stream, row.end(), int(row.group(2), 16))
            yield row.group(1), text, None
            continue
        try:
            if row:
                value, at = _STRINGS.raw_decode(stream, row.end())
                yield row.group(1), None, value
                continue
        except (ValueError, RecursionError):
            pass
        at = stream.find("\n", at + 1) + 1 or len(stream)  # of another kind: it ends with its line


def _text(stream: str, start: int, size: int) -> tuple[str, int]:
    """So many bytes of UTF-8; a lone surrogate counts three."""
    text = stream[start : start + size]
    if not text.isascii():
        text = text.encode("utf-8", "surrogatepass")[:size].decode("utf-8", "replace")
    return text, start + len(text)


def _resolve(holder: list[Any], texts: dict[str, str]) -> None:
    waiting: list[Any] = [holder]
    while waiting:
        container = waiting.pop()
        for place, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if isinstance(value, dict | list):
                waiting.append(value)
            elif isinstance(value, str) and value.startswith("$"):
                found = _REFERENCE.fullmatch(value)
                if found and found.group(1) in texts:
                    container[place] = texts[found.group(1)]
                elif value.startswith("$$"):
                    container[place] = value[1:]
                elif value == "$undefined":
                    container[place] = None
                elif value.startswith("$D"):
                    container[place] = value[2:]
