"""Gemini in Google Takeout: the activity log of the account, as JSON or (Google's default) as a web page.

The log knows prompts, not conversations: a record is a prompt and its answer, the newest first. Records that name the
same thread are put together again; any other is a conversation by itself. Folder, header and the words before a prompt
are in the account's language.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from typing import IO

from config.errors import UnreadableImport
from workers.importers.archive import Member, Upload
from workers.importers.gemini_html import is_activity_page, page_glances, page_records
from workers.importers.gemini_records import Record, as_conversation, json_glance, json_record, prefixes_of
from workers.importers.json_importer import MAX_LOOKED_AT, found_in
from workers.importers.json_stream import sample
from workers.importers.ports import ImportFailure, ImportItem
from workers.importers.text_window import Window

SOURCE = "gemini"
MAX_HELD = 128 << 20  # characters of records whose threads are not complete
MAX_TITLES = 500  # from which the words before a prompt are learned

_KINDS = (".json", ".html", ".htm")
_Found = tuple[Record | ImportFailure | None, int]


class GeminiImporter:
    source = SOURCE

    def recognise(self, file: IO[bytes], filename: str) -> bool:
        try:
            upload = Upload(file, filename)
            return any(_is_activity(upload, member) for member in _documents(upload)[:MAX_LOOKED_AT])
        except UnreadableImport:
            return False

    def read(self, file: IO[bytes], start: int = 0) -> Iterator[ImportItem]:
        upload = Upload(file, "")
        members = [member for member in _documents(upload) if not upload.is_zip or _is_activity(upload, member)]
        total = sum(member.size for member in members)
        threads, prefixes = _survey(upload, members)
        gathered = _Threads(threads)
        index = 0
        for record, done in _all_records(upload, members):
            found = gathered.add(record) if isinstance(record, Record) else record
            if found is None:
                continue
            if index >= start:
                made = found if isinstance(found, ImportFailure) else as_conversation(found, prefixes)
                yield ImportItem(index, made, min(done, total), total)
            index += 1
        for group in gathered.incomplete():  # a record of theirs could not be read the second time
            if index >= start:
                yield ImportItem(index, as_conversation(group, prefixes), total, total)
            index += 1


class _Threads:
    """The records of threads of which some are still to come: no more of them than can be held."""

    def __init__(self, counts: Counter[str]) -> None:
        self._missing = counts
        self._records: dict[str, list[Record]] = {}
        self._sizes: Counter[str] = Counter()
        self._held = 0
        self._refused: set[str] = set()

    def add(self, record: Record) -> list[Record] | ImportFailure | None:
        """A whole thread; None where it waits for more."""
        thread = record.thread
        if thread is None:
            return [record]
        self._missing[thread] -= 1
        if thread in self._refused:
            return None
        self._records.setdefault(thread, []).append(record)
        size = len(record.title) + len(record.answer)
        self._sizes[thread] += size
        self._held += size
        if self._held > MAX_HELD:
            self._take(thread)
            self._refused.add(thread)
            return ImportFailure(f"more than {MAX_HELD >> 20} MiB of unfinished threads; this one was skipped", thread)
        return self._take(thread) if self._missing[thread] <= 0 else None

    def _take(self, thread: str) -> list[Record]:
        self._held -= self._sizes.pop(thread)
        return self._records.pop(thread)

    def incomplete(self) -> Iterator[list[Record]]:
        yield from self._records.values()


def _survey(upload: Upload, members: list[Member]) -> tuple[Counter[str], tuple[str, ...]]:
    """How many records each thread has, and what stands before the prompts: the file is read once for that, so that
    no more than the threads that are still incomplete need be held."""
    threads: Counter[str] = Counter()
    titles: list[str] = []
    for member in members:
        try:
            for thread, title, is_answered in _glances(upload, member):
                if thread:
                    threads[thread] += 1
                if len(titles) < MAX_TITLES and is_answered:
                    titles.append(title)
        except UnreadableImport:  # told when it is read
            continue
    return threads, prefixes_of(titles)


def _glances(upload: Upload, member: Member) -> Iterator[tuple[str | None, str, bool]]:
    if _is_page(upload, member):
        yield from page_glances(Window(upload.open(member)), MAX_TITLES)
        return
    for value, _ in found_in(upload, member):
        if seen := json_glance(value):
            yield seen


def _all_records(upload: Upload, members: list[Member]) -> Iterator[tuple[Record | ImportFailure, int]]:
    """With the bytes done of all members. Activity of other products in the same file is passed over."""
    before = 0
    for member in members:
        try:
            for record, done in _records(upload, member):
                if record is not None:
                    yield record, before + done
        except UnreadableImport as error:
            yield ImportFailure(error.detail), before + member.size
        before += member.size


def _records(upload: Upload, member: Member) -> Iterator[_Found]:
    if _is_page(upload, member):
        yield from page_records(Window(upload.open(member)))
        return
    for value, done in found_in(upload, member):
        yield value if isinstance(value, ImportFailure) else json_record(value), done


def _documents(upload: Upload) -> list[Member]:
    if not upload.is_zip:
        return upload.members
    found = [member for member in upload.members if member.name.lower().endswith(_KINDS)]
    return sorted(found, key=lambda member: ("Gemini" not in member.path, member.folder, member.name))


def _is_activity(upload: Upload, member: Member) -> bool:
    try:
        if _is_page(upload, member):
            return is_activity_page(Window(upload.open(member)))
        if '"header"' not in Window(upload.open(member)).text:
            return False
        return any(isinstance(json_record(element), Record) for element in sample(upload.open(member)))
    except UnreadableImport:  # a damaged or encrypted entry; another may tell
        return False


def _is_page(upload: Upload, member: Member) -> bool:
    head = Window(io.BytesIO(upload.open(member).read(1024))).text
    return head.lstrip().startswith("<")
