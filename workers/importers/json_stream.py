"""The elements of a JSON array, one at a time, from a file of any size.

The standard library's C decoder does the parsing: the file is decoded into a window of text, each element is parsed
where it stands, and one that the window cuts off is parsed again when the window has grown. Memory is bound by the
largest single element, and the speed is that of json.load less what is parsed twice (about one element per read).

What comes out can be stored: lone surrogates become U+FFFD, NUL is removed, NaN and Infinity become None.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workers.importers.brackets import Brackets
from workers.importers.deep_json import decode
from workers.importers.text_window import Readable, Window

MAX_ELEMENT = 128 << 20  # characters, fewer where each takes two or four bytes; one element is held at a time
# Bytes that lists, objects and their places take, by estimate. JSON can be nothing but these, twenty times its text;
# three times this may be held, as what is looked into grows threefold. Prose of that length has less.
MAX_PARSED = 128 << 20
RESYNC_WINDOW = 4 << 20  # characters in which the end of a malformed element is looked for by counting brackets
MAX_MALFORMED = 1000  # after so many the file is too damaged; bounds the time a hostile file can take
LONGEST_KEY = 128  # characters, with the brace and blanks before it
LONGEST_LITERAL = 16  # "-Infinity" or an escaped surrogate pair, cut anywhere, lies within this much of the end


@dataclass(frozen=True, slots=True)
class Element:
    value: Any
    bytes_done: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """`text` is how the element begins, so that a reader of the format can find a title in it."""

    reason: str
    bytes_done: int
    text: str = ""


def elements(file: Readable, max_element: int = MAX_ELEMENT) -> Iterator[Element | Unreadable]:
    """Yield what the array holds. Also taken: {"conversations": […], …}, and objects one after another (JSON lines)."""
    return _Reader(Window(file), max_element).read()


def sample(file: Readable, count: int = 20, max_bytes: int = 64 << 20) -> list[Any]:
    """The first readable elements, to recognise a format by."""
    found: list[Any] = []
    for element in elements(file):
        if isinstance(element, Element):
            found.append(element.value)
        if len(found) >= count or element.bytes_done > max_bytes:
            break
    return found


_DECODER = json.JSONDecoder(strict=False, parse_constant=lambda _: None)
_SEPARATORS = re.compile(r"[\s,]*")
_WRAPPED = re.compile(r"\s*:\s*\[")
_KEY = re.compile(r'[\s,]*"((?:[^"\\]|\\.){1,100})"')
_COLON = re.compile(r"\s*:\s*")
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.){1,100}")\s*:')
_NEXT_SCALAR = re.compile(r"[,\]{\[]")
# Finds \u0000 and surrogates without their other half. It begins with a literal, so the search runs at memchr's speed.
_BAD_ESCAPE = re.compile(
    r"\\u(?:0000"
    r"|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|[dD][c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
_BAD_CHARACTER = re.compile("[\x00\ud800-\udfff]")


class _Reader:
    def __init__(self, window: Window, max_element: int) -> None:
        self._window = window
        self._max = max_element
        self._count = 0
        self._malformed = 0
        self._lost = False  # the next element could not be found: reading ends
        self._closing = "]"
        self._boundary: re.Pattern[str] | None = None

    def read(self) -> Iterator[Element | Unreadable]:
        problem = self._open()
        if problem:
            yield self._unreadable(problem)
            return
        while not self._lost and self._find_element():
            self._count += 1
            yield self._next()
            if self._malformed >= MAX_MALFORMED:
                yield self._unreadable(f"reading ended: {MAX_MALFORMED} conversations of this file are malformed")
                return
        if not self._lost and (problem := self._close()):
            yield self._unreadable(problem)

    def _open(self) -> str | None:
        window = self._window
        self._find_element()
        window.look_ahead(LONGEST_KEY)
        if window.at == len(window.text):
            return "the file is empty"
        if window.text[window.at] == "[":
            window.at += 1
        elif window.text[window.at] == "{":
            wrapped = self._find_wrapped()
            self._closing = "]}" if wrapped else ""
            window.at = wrapped or window.at
        else:
            return "the file does not hold JSON"
        self._find_element()
        window.look_ahead(LONGEST_KEY)
        if first := _FIRST_KEY.match(window.text, window.at):
            self._boundary = re.compile(r"\}\s{0,64},\s{0,64}(?=\{\s{0,64}" + re.escape(first.group(1)) + r"\s{0,64}:)")
        return None

    def _find_wrapped(self) -> int | None:
        """Where the list under "conversations" begins, if the object's other keys are short: a conversation that
        stands by itself is an object too, and no key of it is that."""
        text = self._window.text
        at = self._window.at + 1
        try:
            while key := _KEY.match(text, at):
                if key.group(1) == "conversations":
                    wrapped = _WRAPPED.match(text, key.end())
                    return wrapped.end() if wrapped else None
                colon = _COLON.match(text, key.end())
                if not colon:
                    return None
                _, at = _DECODER.raw_decode(text, colon.end())
        except (ValueError, RecursionError):  # cut off by the window's end, or damaged: told when it is read
            pass
        return None

    def _find_element(self) -> bool:
        """Go to where the next element begins; False where the array or the file ends. A missing comma is forgiven."""
        window = self._window
        while True:
            separators = _SEPARATORS.match(window.text, window.at)
            window.at = separators.end() if separators else window.at
            if window.at < len(window.text):
                return window.text[window.at] != "]"
            if not window.grow():
                return False

    def _close(self) -> str | None:
        window = self._window
        if self._closing == "" and window.at == len(window.text):
            return None
        if window.at == len(window.text):
            return f"the file ends before its list does, after conversation {self._count}: what followed is missing"
        window.at += 1
        if self._closing == "]}":  # the wrapping object may go on with other keys
            return None
        self._find_element()
        if window.at < len(window.text):
            return f"more text follows the end of the list, after conversation {self._count}; it was not read"
        return None

    def _next(self) -> Element | Unreadable:
        window = self._window
        while True:
            try:
                value, end = _DECODER.raw_decode(window.text, window.at)
            except json.JSONDecodeError as error:
                cut = self._is_cut(error)
                if cut and not window.ended:
                    if self._is_too_large():
                        return self._oversized()
                    window.grow()
                    continue
                return self._recover(f"is not valid JSON ({error.msg})", error.pos, cut=cut)
            except RecursionError:
                deep = self._deep()
                if deep is None:
                    return self._recover("is nested too deeply", window.at)
                value, end = deep
            except ValueError:  # int() refuses thousands of digits
                return self._recover("holds a number that is too long", window.at)
            if self._may_go_on(end):
                window.grow()
                continue
            if _BAD_ESCAPE.search(window.text, window.at, end):
                value = storable(value)
            window.at = end
            return Element(value, window.bytes_done)

    def _deep(self) -> tuple[Any, int] | None:
        """Once more, without the stack of the C decoder: trees of replies are nested as deep as they are long."""
        window = self._window
        brackets, seen = Brackets(), 0
        while brackets.find_end(window.text, window.at + seen) is None:
            seen = len(window.text) - window.at
            if self._is_too_large() or not window.grow():
                return None
        try:
            return decode(window.text, window.at)
        except ValueError:
            return None

    def _is_too_large(self) -> bool:
        """Of the element that fills the window to its end."""
        text, at = self._window.text, self._window.at
        width = sys.getsizeof(text) / len(text)
        if (len(text) - at) * width > self._max:
            return True
        return 56 * text.count(",", at) + 56 * text.count("[", at) + 184 * text.count("{", at) > MAX_PARSED

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the error may come from the window's end rather than from the text."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._window.text) - LONGEST_LITERAL

    def _may_go_on(self, end: int) -> bool:
        """Whether this is a bare number that the window may have cut, as in `1.` or `1e+`."""
        text = self._window.text
        return end >= len(text) - LONGEST_LITERAL and text[end - 1] not in '}]"' and not self._window.ended

    # --- going on after an element that cannot be read ---

    def _recover(self, what: str, position: int, *, cut: bool = False) -> Unreadable:
        self._malformed += 1
        window = self._window
        text = window.text[window.at : window.at + 400]
        offset = position - window.at
        if self._skip_by_brackets() or self._skip_to_boundary(offset):
            return self._unreadable(f"conversation {self._count} {what} and was skipped", text)
        self._lost = True
        if cut:
            return self._unreadable(f"the file ends in the middle of conversation {self._count}", text)
        return self._unreadable(f"conversation {self._count} {what}, and no next one could be found after it", text)

    def _skip_by_brackets(self) -> bool:
        """Works where quotes are in order. Trusted only if a comma, a bracket or the end follows."""
        window = self._window
        if window.text[window.at] not in "{[":
            found = _NEXT_SCALAR.search(window.text, window.at)
            window.at = found.start() if found else window.at
            return found is not None
        brackets, seen = Brackets(), 0
        while (end := brackets.find_end(window.text, window.at + seen)) is None:
            seen = len(window.text) - window.at
            if seen > RESYNC_WINDOW or not window.grow():
                return False
        after = window.text[end : end + 64].lstrip()
        if after and after[0] not in ",]":
            return False
        window.at = end
        return True

    def _skip_to_boundary(self, offset: int) -> bool:
        """Where a quote is missing, brackets cannot be counted: look for `}, {"<first key of the first element>":`."""
        window = self._window
        if self._boundary is None:
            return False
        # The string that ends where the error was noticed may have swallowed the boundary: begin at its opening quote.
        start = max(window.text.rfind('"', window.at, max(window.at, window.at + offset - 1)), window.at)
        while not (found := self._boundary.search(window.text, start)):
            window.at = start = max(start, len(window.text) - 512)
            if not window.grow():
                return False
            start = window.at
        window.at = found.end()
        return True

    def _oversized(self) -> Unreadable:
        self._malformed += 1
        window = self._window
        text = window.text[window.at : window.at + 400]
        brackets = Brackets()
        while (end := brackets.find_end(window.text, window.at)) is None:
            window.at = len(window.text)
            if not window.grow():
                self._lost = True
                return self._unreadable(f"the file ends in the middle of conversation {self._count}", text)
        window.at = end
        limit = f"{self._max >> 20} MiB" if self._max >= 1 << 20 else f"{self._max} characters"
        return self._unreadable(f"conversation {self._count} is larger than {limit} and was skipped", text)

    def _unreadable(self, reason: str, text: str = "") -> Unreadable:
        return Unreadable(reason, self._window.bytes_done, text)


def storable(value: Any) -> Any:
    """Replace, at any depth, what UTF-8 or a database cannot hold. Not recursive: the depth is the file's choice."""
    holder = [value]
    waiting: list[Any] = [holder]
    while waiting:
        container = waiting.pop()
        if isinstance(container, dict):
            pairs = [(_storable_text(key), item) for key, item in container.items()]
            container.clear()
            container.update(pairs)
        places = container.items() if isinstance(container, dict) else enumerate(container)
        for place, item in places:
            if isinstance(item, str):
                container[place] = _storable_text(item)  # assigning to an existing key is allowed while iterating
            elif isinstance(item, dict | list):
                waiting.append(item)
    return holder[0]


def _storable_text(text: str) -> str:
    return _BAD_CHARACTER.sub(lambda bad: "" if bad.group() == "\0" else "\ufffd", text)
