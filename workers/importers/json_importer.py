"""What the importers of JSON exports share: which entries of an upload are theirs, and an item for each element."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import IO, Any

from config.errors import UnreadableImport
from workers.importers import values
from workers.importers.archive import Member, Upload
from workers.importers.json_stream import Element, elements, sample
from workers.importers.ports import ImportedConversation, ImportFailure, ImportItem
from workers.importers.text_window import Window

MAX_LOOKED_AT = 50  # entries of a zip that are called neither this nor that

_TITLE = re.compile(r'"(?:title|name)"\s*:\s*("(?:[^"\\]|\\.)*")')


class JsonImporter(ABC):
    """One source. `marks` are keys of which one stands early in its files: a cheap look before anything is parsed."""

    source: str
    marks: tuple[str, ...] = ()

    @abstractmethod
    def is_mine(self, element: Any) -> bool | None:
        """None where this element cannot tell: it is empty, or damaged."""

    @abstractmethod
    def convert(self, element: Any) -> ImportedConversation | ImportFailure: ...

    def is_usual(self, member: Member) -> bool:
        """Whether an entry of a zip is read for its name; others are read if their content is recognised."""
        return False

    def recognise(self, file: IO[bytes], filename: str) -> bool:
        try:
            upload = Upload(file, filename)
        except UnreadableImport:
            return False
        verdicts = (self.verdict(upload, member) for member in self.candidates(upload))
        return next((verdict for verdict in verdicts if verdict is not None), False)

    def read(self, file: IO[bytes], start: int = 0) -> Iterator[ImportItem]:
        upload = Upload(file, "")
        members, failures = self.contents(upload)
        total = sum(member.size for member in members)
        index = before = 0
        for failure in failures:
            if index >= start:
                yield ImportItem(index, failure, 0, total)
            index += 1
        for member in members:
            for value, done in found_in(upload, member):
                if index >= start:
                    found = value if isinstance(value, ImportFailure) else self.convert(value)
                    yield ImportItem(index, found, min(before + done, total), total)
                index += 1
            before += member.size

    def contents(self, upload: Upload) -> tuple[list[Member], list[ImportFailure]]:
        """The entries to read, in a stable order, and what is known to be missing or is not read."""
        if not upload.is_zip:
            return upload.members, []
        documents = json_documents(upload)
        return [member for member in documents if self.is_usual(member) or self.verdict(upload, member)], []

    def verdict(self, upload: Upload, member: Member) -> bool | None:
        try:
            if not self._is_marked(upload, member):
                return None
            verdicts = (self.is_mine(element) for element in sample(upload.open(member)))
            return next((verdict for verdict in verdicts if verdict is not None), None)
        except UnreadableImport:  # a damaged or encrypted entry; another may tell
            return None

    def candidates(self, upload: Upload) -> Iterator[Member]:
        """What to recognise the upload by: in a zip first what is called as usual."""
        if not upload.is_zip:
            yield from upload.members
            return
        documents = json_documents(upload)
        yield from (member for member in documents if self.is_usual(member))
        yield from [member for member in documents if not self.is_usual(member)][:MAX_LOOKED_AT]

    def _is_marked(self, upload: Upload, member: Member) -> bool:
        if not self.marks:
            return True
        text = Window(upload.open(member)).text
        return any(f'"{mark}"' in text for mark in self.marks)


def json_documents(upload: Upload) -> list[Member]:
    documents = [member for member in upload.members if member.name.lower().endswith((".json", ".jsonl"))]
    return sorted(documents, key=lambda member: (member.folder, member.name))


def found_in(upload: Upload, member: Member) -> Iterator[tuple[Any, int]]:
    """Each element, decoded but not converted, with the bytes of this member done; failures where there is none."""
    where = f"{member.path}: " if upload.is_zip else ""
    try:
        for element in elements(upload.open(member)):
            if isinstance(element, Element):
                yield element.value, element.bytes_done
            else:
                yield ImportFailure(where + element.reason, title=_title_in(element.text)), element.bytes_done
    except UnreadableImport as error:
        yield ImportFailure(error.detail), member.size


def _title_in(text: str) -> str | None:
    found = _TITLE.search(text)
    try:
        return values.title(json.loads(found.group(1), strict=False)) if found else None
    except ValueError:
        return None
