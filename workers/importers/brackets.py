"""Where a JSON value ends, found without parsing it."""

from __future__ import annotations

import re

_MARK = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)
_OPENER = {"}": "{", "]": "["}
MAX_DEPTH = 1_000_000  # brackets that are open; a file can be nothing but these


class Brackets:
    """Counts the brackets outside strings, from the first one on; takes its text in pieces of any size. Nested deeper
    than MAX_DEPTH, a value has no end."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._in_string = False
        self._escaped = False  # the last piece ended in a backslash

    def find_end(self, text: str, start: int) -> int | None:
        """The position behind the bracket that closes the first one; None if this piece does not hold it."""
        start += self._escaped
        self._escaped = False
        if len(self._open) > MAX_DEPTH:
            return None
        for match in _MARK.finditer(text, start):
            mark = match.group()
            if mark == '"':
                self._in_string = not self._in_string
            elif mark[0] == "\\":
                self._escaped = len(mark) == 1
            elif self._in_string:
                continue
            elif mark in "{[":
                self._open.append(mark)
                if len(self._open) > MAX_DEPTH:
                    return None
            elif self._closes(mark):
                return match.end()
        return None

    def _closes(self, mark: str) -> bool:
        """Forgives a missing inner bracket: `{"a": [1}` ends at its brace."""
        opener = _OPENER[mark]
        if opener in self._open[-32:]:  # the whole stack is as long as a hostile file likes
            while self._open.pop() != opener:
                pass
        return not self._open
