"""A web page in a single file (MHTML), as Chrome and Edge save it: MIME parts, of which the first HTML is the page.

A stranger wrote it. The email parser would hold all of the file and recurse into what is nested, so that the parts are
found by their boundaries here; it reads the headers and decodes the one part that is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from itertools import islice
from typing import IO

MAX_READ = 64 << 20  # bytes of the file, in which the page must end; it comes first
MAX_HEADER = 16 << 10  # bytes, of the file or of a part
MAX_PARTS = 100
MAX_DEPTH = 5  # parts inside parts; Chrome has none

_FIELD = re.compile(rb"[A-Za-z-]{1,60}:")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_BEHIND_BOUNDARY = re.compile(rb"(--)?[ \t]{0,100}\r?(?:\n|\Z)")
_URL = re.compile(r"https?://[^\s\"'<>]{1,500}")
_HTML = ("text/html", "application/xhtml+xml")
_HEADERS = BytesHeaderParser()


@dataclass(frozen=True, slots=True)
class SavedPage:
    """`charset` and `url` as the headers tell them."""

    html: bytes
    charset: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class _Part:
    """`start` and `end` are its body's."""

    head: Message
    start: int
    end: int

    @property
    def is_html(self) -> bool:
        return self.head.get_content_type() in _HTML

    @property
    def boundary(self) -> bytes | None:
        if self.head.get_content_maintype() != "multipart":
            return None
        return (self.head.get_boundary() or "").encode("ascii", "replace") or None


def is_mhtml(beginning: bytes) -> bool:
    """By the first MAX_HEADER bytes of a file."""
    if not _FIELD.match(beginning):
        return False
    whole = _part(beginning, 0, len(beginning))
    return "MIME-Version" in whole.head and (whole.is_html or whole.head.get_content_maintype() == "multipart")


def saved_page(file: IO[bytes]) -> SavedPage | None:
    """None where no page ends within MAX_READ bytes; of a file that was cut short, what is left of it."""
    file.seek(0)
    found = _page(file.read(MAX_READ + 1))
    if found is None:
        return None
    head, url, body = found
    part = Message()
    part["Content-Transfer-Encoding"] = _text(head, "Content-Transfer-Encoding").lower()
    part.set_payload(body.decode("ascii", "surrogateescape"))
    html = part.get_payload(decode=True)
    assert isinstance(html, bytes)
    return SavedPage(html, head.get_content_charset(), url)


def _page(data: bytes) -> tuple[Message, str | None, bytes] | None:
    """The page's header, its address and its body, as it is encoded."""
    whole = _part(data, 0, len(data))
    page = next((part for part in islice(_walk(data, whole), MAX_PARTS) if part.is_html), None)
    if page is None or page.end > MAX_READ:
        return None
    said = (_text(whole.head, "Snapshot-Content-Location"), _text(page.head, "Content-Location"))
    url = next((given for given in said if _URL.fullmatch(given)), None)
    return page.head, url, data[page.start : page.end]


def _walk(data: bytes, part: _Part, depth: int = 0) -> Iterator[_Part]:
    """It and those inside it."""
    yield part
    if depth < MAX_DEPTH and (boundary := part.boundary):
        for start, end in _between(data, b"\n--" + boundary, part.start - 1, part.end):
            yield from _walk(data, _part(data, start, end), depth + 1)


def _between(data: bytes, mark: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What lies between lines that are a boundary; behind the last of them too, if it does not say that it is."""
    begun = None
    at = data.find(mark, max(start, 0), end)
    while at >= 0:
        if line := _BEHIND_BOUNDARY.match(data, at + len(mark), end):
            if begun is not None:
                yield begun, at - data.endswith(b"\r", begun, at)
            begun = line.end()
            if line.group(1):
                return
        at = data.find(mark, at + len(mark) if line is None else line.end() - 1, end)
    if begun is not None:
        yield begun, end


def _part(data: bytes, start: int, end: int) -> _Part:
    """Without a header, if it has none that is as short as headers are."""
    blank = _BLANK_LINE.search(data, max(start - 1, 0), min(start + MAX_HEADER, end))
    if blank is None or blank.start() < start:
        return _Part(Message(), start, end)
    return _Part(_HEADERS.parsebytes(data[start : blank.end()]), blank.end(), end)


def _text(head: Message, name: str) -> str:
    """Unfolded."""
    return "".join(str(head.get(name, "")).split())
