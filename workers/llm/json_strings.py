"""The strings of a JSON object while it is still being written: what a model says in JSON can be shown as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def spelled(text: str) -> str:
    """The inside of a JSON string, as a grammar of ours takes it."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f")


class JsonStrings:
    """Takes the document piece by piece and gives out, as (name, text), what the object's own members that are strings
    say. Text is given out in whole characters. What follows the object, or is no object, gives nothing."""

    def __init__(self) -> None:
        self._depth = 0  # of objects and lists around the place reached
        self._in_string = False
        self._escape: str | None = None  # an escape as far as it has come, without its backslash
        self._high = ""  # half a character, whose other half is awaited
        self._name = ""  # of the member that is being read
        self._is_name = True  # whether a string at this place is a name
        self.whole = False  # the object is complete

    def feed(self, text: str) -> Iterator[tuple[str, str]]:
        said = ""
        for letter in text:
            if self.whole:
                break
            if not self._in_string:
                self._structure(letter)
                continue
            character = self._inside(letter)
            if character is not None:
                said = self._keep(said, character)
                continue
            self._in_string = False
            if said := self._keep(said, self._lone()):
                yield self._name, said
            said = ""
        if said:
            yield self._name, said

    def _keep(self, said: str, character: str) -> str:
        if self._depth != 1:
            return ""
        if self._is_name:
            self._name += character
            return ""
        return said + character

    def _structure(self, letter: str) -> None:
        if letter == '"':
            self._in_string = True
            if self._is_name and self._depth == 1:
                self._name = ""
        elif letter in "{[":
            self._depth += 1
            self._is_name = self._depth == 1
        elif letter in "}]":
            self._depth -= 1
            self.whole = self._depth <= 0
        elif letter == ":" and self._depth == 1:
            self._is_name = False
        elif letter == "," and self._depth == 1:
            self._is_name = True

    def _inside(self, letter: str) -> str | None:
        """The characters that are certain now; None at the string's end."""
        if self._escape is None:
            if letter == "\\":
                self._escape = ""
                return ""
            if letter == '"':
                return None
            return self._lone() + letter
        self._escape += letter
        if self._escape[0] != "u":
            escaped, self._escape = _ESCAPES.get(self._escape, self._escape), None
            return self._lone() + escaped
        if len(self._escape) < 5:
            return ""
        code, self._escape = self._escape[1:], None
        return self._unit(code)

    def _unit(self, code: str) -> str:
        try:
            unit = int(code, 16)
        except ValueError:
            return self._lone() + "\ufffd"
        if 0xDC00 <= unit < 0xE000:
            high, self._high = self._high, ""
            return (high + chr(unit)).encode("utf-16", "surrogatepass").decode("utf-16") if high else "\ufffd"
        before = self._lone()
        if 0xD800 <= unit < 0xDC00:
            self._high = chr(unit)
            return before
        return before + chr(unit)

    def _lone(self) -> str:
        """What is left of a character whose other half did not come."""
        high, self._high = self._high, ""
        return "\ufffd" if high else ""
