"""A saved web page: its text, where it was saved from, its title, and the data its scripts carry.

Saved as a single file (`mhtml`), it is read as the same page saved as HTML, with its address where Chrome writes that
into HTML; its scripts are gone.
"""

from __future__ import annotations

import codecs
import html
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from workers.importers import flight, mhtml
from workers.importers.archive import Upload
from workers.importers.turns import Json

MAX_PAGE = 32 << 20  # bytes; its text may take four times as much, and is held twice
MAX_HEAD = 1 << 20  # characters in which a page says whose it is

_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset=["']?([\w.:-]{2,40})""", re.IGNORECASE)
# Python knows other codecs, which are of no text or, as punycode, take quadratic time.
_OF_PAGES = re.compile(r"ascii|big5|cp\d|euc|gb|hz|iso2022|iso8859|johab|koi8|kz1048|mac|shift_jis|tis")
_ADDRESS = re.compile(r"(?:canonical|og:url|saved from url)[^>]{0,200}?(https?://[^\s\"'<>]{1,500})")
_META_TITLE = re.compile(r"<meta[^>]{0,80}\bog:title\"[^>]{0,80}\bcontent=\"([^\"]{1,2000})\"")
_TITLE = re.compile(r"<title\b[^>]{0,200}>([^<]{1,2000})")
_JSON_SCRIPT = re.compile(r"<script\b[^>]{0,300}(?:\btype=\"application/json\"|\bid=\"__NEXT_DATA__\")[^>]{0,300}>")


def page_text(file: IO[bytes]) -> str | None:
    """None for what is no web page, or larger than pages are."""
    file.seek(0)
    upload = Upload(file, "")
    if upload.is_zip:
        return None
    file.seek(0)
    if mhtml.is_mhtml(file.read(mhtml.MAX_HEADER)):
        saved = mhtml.saved_page(file)
        text = _text(saved.html, saved.charset) if saved else None
        where = f"<!-- saved from url={html.escape(saved.url)} -->" if saved and saved.url else ""
        return f"{where}{text}" if text is not None else None
    if upload.size > MAX_PAGE:
        return None
    file.seek(0)
    return _text(file.read(MAX_PAGE + 1))


def _text(data: bytes, charset: str | None = None) -> str | None:
    if len(data) > MAX_PAGE or not _decoded(data[:4096], charset).lstrip("\ufeff \t\r\n\f").startswith("<"):
        return None
    return _decoded(data, charset)


def _decoded(data: bytes, charset: str | None) -> str:
    """As UTF-8 or, where it is none, as the page or its header says that it is written."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace").replace("\0", "")
    try:
        return data.decode("utf-8-sig").replace("\0", "")
    except UnicodeDecodeError:
        said = _CHARSET.search(data[:4096])
    if charset is None and said:
        charset = said.group(1).decode("ascii", "replace")
    return data.decode(_usual(charset), "replace").replace("\0", "")


def _usual(charset: str | None) -> str:
    """UTF-8 where that is none of a page; a page that could say so in ASCII is not in UTF-16."""
    try:
        name = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):  # no such charset; a name with NUL in it
        return "utf-8"
    return name if _OF_PAGES.match(name) else "utf-8"


def address(page: str) -> str | None:
    """Where the page says that it stands, or was saved from."""
    found = _ADDRESS.search(page[:MAX_HEAD])
    return html.unescape(found.group(1)) if found else None


def title(page: str, ending: re.Pattern[str]) -> str:
    """Without what the site puts behind every title."""
    found = _META_TITLE.search(page[:MAX_HEAD]) or _TITLE.search(page[:MAX_HEAD])
    return ending.sub("", html.unescape(found.group(1)).strip()) if found else ""


def carried(page: str, key: str) -> Json | None:
    """The first object with a list under this key in the data of the page's scripts."""
    if key not in page:
        return None
    return next((found for data in _data(page) if (found := _with_list(data, key))), None)


def _data(page: str) -> Iterator[Any]:
    at = 0
    while script := _JSON_SCRIPT.search(page, at):
        end = page.find("</script", script.end())
        at = end if end >= 0 else len(page)
        try:
            yield json.loads(page[script.end() : at], strict=False, parse_constant=lambda _: None)
        except (ValueError, RecursionError):  # damaged: another may tell
            continue
    yield from flight.values_of(page)


def _with_list(data: Any, key: str) -> Json | None:
    waiting = [data]
    for value in waiting:  # grows while it is walked
        if isinstance(value, dict):
            if isinstance(value.get(key), list) and value[key]:
                return value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return None
