"""Google's activity page: one `outer-cell` for each record, holding the prompt, the time and the answer in a row."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from workers.importers.gemini_dates import looks_like_date, when
from workers.importers.gemini_records import PRODUCT, THREAD, Record
from workers.importers.ports import ImportFailure
from workers.importers.text_window import Window

MAX_CELL = 48 << 20  # characters of one record

_CELL = '<div class="outer-cell'
_BODY = re.compile(r'<div class="content-cell[^">]*mdl-typography--body-1"[^>]*>')
_HEADER = re.compile(r'<div class="header-cell[^">]*"[^>]*>')
_CAPTION = re.compile(r'<div class="content-cell[^">]*mdl-typography--caption"[^>]*>')
_DIV = re.compile(r"<(/?)div\b")
_BREAK = re.compile(r"<br\s*/?>")
_BLOCK = re.compile(r"<(?:p|h[1-6]|ul|ol|pre|table|div|blockquote|hr|section|response-element)\b")
_ANCHOR = re.compile(r'<a\b[^>]{0,4000}?href="([^"]{0,2000})"[^>]*>([^<]{0,500})</a>')
_TAG = re.compile(r"<[^<>]*>")


def is_activity_page(window: Window) -> bool:
    """Of Gemini, and not of another product."""
    return any(isinstance(record, Record) for record, _ in _first_cells(window, 20))


def _first_cells(window: Window, count: int) -> Iterator[tuple[Record | ImportFailure | None, int]]:
    for number, found in enumerate(page_records(window)):
        if number >= count:
            return
        yield found


def page_records(window: Window) -> Iterator[tuple[Record | ImportFailure | None, int]]:
    """None for another product's activity."""
    for cell in _cells(window):
        yield cell if isinstance(cell, ImportFailure) else _record(cell), window.bytes_done


def page_glances(window: Window, titles: int) -> Iterator[tuple[str | None, str, bool]]:
    """The thread of each of our records and, of so many, the title and whether there is an answer."""
    for cell in _cells(window):
        if isinstance(cell, ImportFailure):
            continue
        thread, is_ours = _whose(cell, _inside(cell, _CAPTION) or "")
        record = _record(cell) if is_ours and titles > 0 else None
        if isinstance(record, Record):
            titles -= 1
            yield record.thread, record.title, bool(record.answer)
        elif is_ours:
            yield thread, "", False


def _cells(window: Window) -> Iterator[str | ImportFailure]:
    while _seek(window):
        end = window.text.find(_CELL, window.at + 1)
        while end < 0 and len(window.text) - window.at < MAX_CELL and window.grow():
            end = window.text.find(_CELL, window.at + 1)
        if end < 0 and not window.ended:
            yield ImportFailure(f"a record of the page is larger than {MAX_CELL >> 20} MiB and was skipped")
            window.at += len(_CELL)
            continue
        cell = window.text[window.at : end if end >= 0 else len(window.text)]
        window.at += len(cell)
        yield cell


def _seek(window: Window) -> bool:
    """Go to where the next record begins."""
    while (found := window.text.find(_CELL, window.at)) < 0:
        window.at = max(window.at, len(window.text) - len(_CELL))
        if not window.grow():
            return False
    window.at = found
    return True


def _record(cell: str) -> Record | ImportFailure | None:
    thread, is_ours = _whose(cell, _inside(cell, _CAPTION) or "")
    if not is_ours:
        return None
    body = _inside(cell, _BODY)
    if body is None:
        return ImportFailure("a record of the page has no text")
    block = _BLOCK.search(body)
    lines = _BREAK.split(body[: block.start()] if block else body)
    plain = [_plain(line) for line in lines]
    dates = [number for number, line in enumerate(plain) if looks_like_date(line)]
    if not dates:
        return Record(_plain("\n".join(lines)), None, body[block.start() :] if block else "", thread)
    at = dates[-1 if block else 0]  # a prompt may tell times too, and so may an answer that is not in blocks
    time, unknown_zone = when(plain[at])
    answer = "<br>".join(lines[at + 1 :]) + (body[block.start() :] if block else "")
    record = Record("", time, answer, thread, unknown_zone=unknown_zone)
    asked: list[str] = []
    for number, line in enumerate(lines[:at]):
        files = [] if number == 0 else [name for url, name in _ANCHOR.findall(line) if not url.startswith("http")]
        record.attachments += [{"name": html.unescape(name)} for name in files]
        asked += [] if files else [plain[number]]
    record.title = "\n".join(asked).strip()
    return record


def _whose(cell: str, caption: str) -> tuple[str | None, bool]:
    """The thread, where it is named, and whether this is of Gemini at all."""
    thread = THREAD.search(cell[: cell.find("<br")] if "<br" in cell else cell) or THREAD.search(caption)
    if thread:
        return thread.group(1), True
    header = _plain(_inside(cell, _HEADER) or "")
    return None, PRODUCT.search(header or _plain(caption)) is not None


def _inside(cell: str, opening: re.Pattern[str]) -> str | None:
    """What stands in the first such element; to the end of the record if it is not closed."""
    found = opening.search(cell)
    if not found:
        return None
    depth = 1
    for tag in _DIV.finditer(cell, found.end()):
        depth += -1 if tag.group(1) else 1
        if depth == 0:
            return cell[found.end() : tag.start()]
    return cell[found.end() :]


def _plain(source: str) -> str:
    text = _TAG.sub("", source) if "<" in source else source
    if "&" in text:
        text = html.unescape(text)
    return text.replace("\xa0", " ").replace("\u202f", " ").strip()
