"""What tasks ask of importers: the port and the plain data that crosses it, as `workers/ports.py` has the others'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Literal, Protocol

from workers.importers.belongings import Belongings
from workers.ports import Role

Visibility = Literal["visible", "hidden", "tool", "reasoning"]


@dataclass(slots=True)
class ImportedMessage:
    """One node of a conversation tree, as the source had it.

    `content` is Markdown a person would read. Messages that are not part of what is shown (tool traffic, reasoning,
    hidden instructions) keep their text and say so in `visibility`. `parts` holds what `content` cannot (attachments,
    citations, raw content type) as JSON values.
    """

    native_id: str
    parent_native_id: str | None
    role: Role
    content: str
    visibility: Visibility = "visible"
    author_name: str | None = None
    model: str | None = None
    created_at: datetime | None = None  # aware, UTC
    parts: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)  # what only our own export has, named as it is stored


@dataclass(slots=True)
class ImportedConversation:
    """Every branch in `messages`, parents before children; the shown path ends at `current_native_id`."""

    source: str  # "chatgpt", "claude", …
    native_id: str
    title: str
    messages: list[ImportedMessage]
    current_native_id: str | None
    url: str | None = None
    model: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    is_archived: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was not understood, in words for the ledger
    columns: dict[str, Any] = field(default_factory=dict)  # what only our own export has, named as it is stored
    belongings: Belongings | None = None  # the same, where it is stored elsewhere


@dataclass(slots=True)
class ImportFailure:
    """Something in the file that is not a readable conversation, and why, in words a person understands."""

    reason: str
    native_id: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class ImportItem:
    """One thing found in a file. `index` counts from 0 in file order and is the resume point;
    `bytes_done` / `bytes_total` (uncompressed) tell how far reading has come."""

    index: int
    found: ImportedConversation | ImportFailure
    bytes_done: int
    bytes_total: int


class Importer(Protocol):
    """Reads one source's files. No I/O of its own: it is given an open, seekable binary file."""

    source: str

    def recognise(self, file: IO[bytes], filename: str) -> bool:
        """True if the content is this source's. Must not read the whole file; leaves the position anywhere."""
        ...

    def read(self, file: IO[bytes], start: int = 0) -> Iterator[ImportItem]:
        """Yield items from index `start` on, in a stable order, holding one conversation in memory at a time."""
        ...
