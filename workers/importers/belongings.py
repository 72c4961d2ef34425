"""What our own export has of a conversation beside its messages; part of the ports (`ports.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from workers.importers.text_window import Readable


@dataclass(slots=True)
class ImportedFile:
    """`open` gives its bytes from the beginning; None where the upload has none. It raises UnreadableImport, also
    while reading. Nothing here is checked but the form of `digest`."""

    filename: str
    file_type: str | None
    digest: str  # SHA-256, what the bytes must have
    created_at: datetime | None
    message_native_id: str | None = None
    summary_text: str | None = None
    open: Callable[[], Readable] | None = None


@dataclass(frozen=True, slots=True)
class ImportedVersion:
    title: str
    description: str
    is_active: bool
    is_manual_edit: bool
    model: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ImportedSummary:
    """`is_current`: it speaks of the conversation as it is."""

    text: str
    model: str | None
    is_edited: bool
    is_current: bool
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(slots=True)
class Belongings:
    """What our own export has of a conversation beside its messages. `talk`: the native id of the talk about its draft;
    `draft_of`: the source and native id of the conversation about whose draft this one is the talk."""

    files: list[ImportedFile] = field(default_factory=list)
    versions: list[ImportedVersion] = field(default_factory=list)
    talk: str | None = None
    draft_of: tuple[str, str] | None = None
    summary: ImportedSummary | None = None
