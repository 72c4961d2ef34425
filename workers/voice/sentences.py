"""Text that is still being written, cut where a voice would pause. Pure: how the text arrived makes no difference.

The first piece may end at a comma, as somebody waits for it. Of Markdown only what moves an end is known: blocks of
code, and lines that end without a full stop (headings, lists, tables).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARS = 300  # of a piece: some 20 s of speech
FIRST_CHARS = 40  # after which the first piece may end at a comma: some 2.5 s, time enough for the second
_AHEAD = 20  # characters that are looked at behind an end: blanks, and the next word's first letter

_CLOSERS = "\"'”’»›)\\]*_`」』）"
_END = re.compile(f"[.!?…؟۔।]{{1,8}}[{_CLOSERS}]{{0,8}}|[。！？]{{1,8}}[{_CLOSERS}]{{0,8}}|\n")
_CLAUSE = re.compile(f"[,;:–—][{_CLOSERS}]?\\s|[、，；：]| - ")
_WIDE = "。！？"  # no blank follows these

# A line that ends without a full stop, and what the next one may begin with where a line does end.
_LINE = re.compile(r"[ \t]*(?:#{1,6} |[-*+•] |\d{1,3}[.)] |\||>)")
_LINE_STARTS = "\n#>|-*+•`~0123456789"
_LIST_NUMBER = re.compile(r"[ \t>]*\d{1,3}")
_FENCE = re.compile(r"[ \t]{0,3}(```+(?=[^`]*$)|~~~+)")

_LAST_WORD = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]{1,12}\Z")
# Behind these a sentence never ends …
_NEVER = frozenset(
    (
        "mr", "mrs", "ms", "dr", "prof", "st", "mt", "gen", "col", "capt", "lt", "sgt", "rev", "hon", "messrs", "vs",
        "cf", "approx", "no", "nos", "vol", "fig", "figs", "eq", "p", "pp", "ed", "eds", "dept", "est", "resp", "incl",
        "excl", "e.g", "i.e", "z.b", "d.h", "u.a", "bzw", "ca", "nr", "abb", "hr", "str",
    )
)  # fmt: skip
# … behind these where a capital follows, and so behind "p.m." and "U.S.".
_PERHAPS = frozenset(
    (
        "etc", "inc", "ltd", "corp", "co", "jr", "sr", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sept", "sep",
        "oct", "nov", "dec", "mon", "tue", "wed", "thu", "fri", "usw", "al",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters `start` to `end` (behind its last) of the text. `is_code`: within a block of code; the piece before
    those is the line that begins it."""

    text: str
    start: int
    end: int
    is_code: bool = False


class SentenceSplitter:
    """Its pieces, put together, are the text. For one thread."""

    def __init__(self) -> None:
        self._text = ""  # what is not given yet
        self._start = 0  # where that begins
        self._begins_line = True
        self._fence = ""  # what ends the block of code that it is in

    def feed(self, delta: str) -> list[Piece]:
        """The pieces that are complete now."""
        self._text += delta
        return self._pieces(is_all=False)

    def flush(self) -> list[Piece]:
        """The rest: nothing more is written."""
        return self._pieces(is_all=True)

    def _pieces(self, is_all: bool) -> list[Piece]:
        found = []
        while self._text and (end := self._end(is_all)) is not None:
            found.append(self._take(end))
        return found

    def _end(self, is_all: bool) -> int | None:
        """Of the next piece; None while that cannot be told."""
        text = self._text[: MAX_CHARS + _AHEAD + 1]  # whatever follows, the end is in this
        is_all &= len(text) == len(self._text)
        if self._fence:
            end = text.find("\n", 0, MAX_CHARS) + 1 or None
            if end is None and len(text) >= MAX_CHARS:
                return MAX_CHARS
        else:
            end = _find_end(text, self._begins_line, is_first=self._start == 0)
            if end is None and len(text) > MAX_CHARS + (0 if is_all else _AHEAD):
                return _best_cut(text)
        return len(text) if end is None and is_all else end

    def _take(self, end: int) -> Piece:
        text, self._text = self._text[:end], self._text[end:]
        piece = Piece(text, self._start, self._start + end, is_code=bool(self._fence))
        if not self._fence:
            self._fence = _fence(text, self._begins_line) if text.endswith("\n") else ""
        elif self._begins_line and text.strip().startswith(self._fence) and not text.strip().strip(self._fence[0]):
            self._fence = ""
        self._start += end
        self._begins_line = text.endswith("\n")
        return piece


def _body(text: str, begins_line: bool) -> tuple[int, bool]:
    """Where the words begin, blanks of their line included, and whether that is at the begin of a line."""
    blanks = text[: len(text) - len(text.lstrip())]
    line = blanks.rfind("\n") + 1
    return (line, True) if line else (0, begins_line)


def _fence(text: str, begins_line: bool) -> str:
    """What opens a block of code in the first line that says something, as far as that is there."""
    at, is_line = _body(text, begins_line)
    match = _FENCE.match(text[at:].partition("\n")[0]) if is_line else None
    return match[1] if match else ""


def _find_end(text: str, begins_line: bool, is_first: bool) -> int | None:
    at, is_line = _body(text, begins_line)
    if not text[at:].strip():
        return None
    if _fence(text, begins_line):
        line = text.find("\n", at)
        return line + 1 if 0 <= line < MAX_CHARS else None
    clause = next((m.end() for m in _CLAUSE.finditer(text, at) if m.end() > at + FIRST_CHARS), None)
    limit = clause if is_first and clause is not None else MAX_CHARS
    line_at = at if is_line else None  # of the line that `match` stands in, where its begin is here
    for match in _END.finditer(text, len(text) - len(text.lstrip())):
        if match.end() > min(limit, MAX_CHARS):
            break
        if match[0] == "\n":
            is_end = _ends_line(text, line_at, match.start())
            end = match.end()
            line_at = match.end()
        else:
            is_end = _ends_sentence(text, line_at, match)
            end = match.end() if match[0][0] in _WIDE else match.end() + 1
        if is_end is None:
            break
        if is_end:
            return end
    return clause if is_first and clause is not None and clause <= MAX_CHARS else None


def _ends_line(text: str, line_at: int | None, at: int) -> bool | None:
    if line_at is not None and _LINE.match(text[line_at:at]):
        return True
    follows = text[at + 1 : at + 1 + _AHEAD].lstrip(" \t")
    return follows[0] in _LINE_STARTS if follows else _gap(text, at + 1)


def _gap(text: str, at: int) -> bool | None:
    """Only blanks were seen behind `at`: an end, if they are many."""
    return True if len(text) >= at + _AHEAD else None


def _ends_sentence(text: str, line_at: int | None, match: re.Match[str]) -> bool | None:
    end = match.end()
    if end == len(text):
        return None
    if match[0][0] in _WIDE:
        return True
    if not text[end].isspace():
        return False
    needs = ""  # of what follows
    if match[0] == ".":
        if line_at is not None and _LIST_NUMBER.fullmatch(text[line_at : match.start()]):
            return False
        found = _LAST_WORD.search(text[max(0, match.start() - 24) : match.start()])
        word = found[0] if found else ""
        if word.lower() in _NEVER or (len(word) == 1 and word.isupper() and word != "I"):  # an initial
            return False
        if word.lower() in _PERHAPS or "." in word or (len(word) == 1 and word != "I"):
            needs = "capital"
    elif match[0].startswith(("..", "…")) or match[0][-1] not in "!?؟۔।":
        needs = "no small letter"
    if not needs:
        return True
    follows = text[end : end + _AHEAD].lstrip()
    if not follows:
        return _gap(text, end)
    return not (follows[0].islower() or (needs == "capital" and follows[0].isdecimal()))


def _best_cut(text: str) -> int:
    """Where no sentence ends in time: behind a comma, or at least between words."""
    clauses = [match.end() for match in _CLAUSE.finditer(text, MAX_CHARS // 3, MAX_CHARS)]
    if clauses:
        return clauses[-1]
    blanks = [match.end() for match in re.finditer(r"\s", text[:MAX_CHARS]) if match.end() > MAX_CHARS // 3]
    return blanks[-1] if blanks else MAX_CHARS
