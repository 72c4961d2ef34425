"""The workspace: one folder of this machine that may be looked at, and what the last look saw.

Every name below it is opened from its parent, and no link is followed: neither now nor where somebody puts one in the
place of a folder that was just looked at.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, bindparam, delete, insert, select, update
from sqlmodel import Session

from config.settings import Settings
from storage.project_tables import WorkspaceFile
from storage.tables import Conversation, utcnow

KINDS: dict[str, str] = {
    "text": "txt text log rst adoc org tex",
    "markdown": "md markdown mdx",
    "code": "py pyi js jsx ts tsx mjs cjs java kt kts scala c h cc cpp cxx hpp cs go rs rb php pl lua r jl swift m mm "
    "sh bash zsh fish ps1 bat sql html htm css scss less vue svelte xml toml yaml yml ini cfg conf cmake mk gradle tf "
    "proto graphql ex exs erl hs clj dart zig nix vim el lisp",
    "data": "json jsonl ndjson csv tsv parquet sqlite db npy npz pkl arrow",
    "document": "pdf doc docx odt rtf ppt pptx odp xls xlsx ods epub",
    "image": "png jpg jpeg gif webp bmp tif tiff svg ico heic avif",
    "audio": "mp3 wav flac ogg opus m4a aac",
    "video": "mp4 mkv webm mov avi",
    "archive": "zip tar gz tgz bz2 xz zst 7z rar",
}
_KIND_OF = {ending: kind for kind, endings in KINDS.items() for ending in endings.split()}
_NAMED_CODE = {"makefile", "dockerfile", "procfile", "rakefile", "gemfile", "justfile", "cmakelists.txt"}
INDEXED = ("text", "markdown", "code")
# What tools put there by the thousand. Names that begin with a dot are left alone, too: they hold settings and secrets.
_NOBODYS = {"node_modules", "__pycache__", "venv", "site-packages"}
MAX_PATH_BYTES = 1000  # a longer one is no key for a database
_MAX_DEPTH = 40
# The row of the folder itself: when it was looked at last.
ITSELF = ""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Of conversations that are files.
SOURCE = "workspace"
_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]
_files: Table = WorkspaceFile.__table__  # type: ignore[attr-defined]
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class FoundFile:
    """`path` is below the workspace, with slashes."""

    path: str
    size: int
    modified_at: datetime

    @property
    def kind(self) -> str:
        return kind_of(self.path)


@dataclass(slots=True)
class Look:
    """`is_complete`: no bound was met. `passed_over` counts links, devices and names no database holds."""

    files: list[FoundFile] = field(default_factory=list)
    is_complete: bool = True
    passed_over: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """Paths, since the look before; `since` is None for the first one, to which nothing is a change."""

    since: datetime | None = None
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def kind_of(path: str) -> str:
    name = path.rpartition("/")[2].lower()
    if name in _NAMED_CODE:
        return "code"
    return _KIND_OF.get(name.rpartition(".")[2], "other") if "." in name else "other"


# --- the disk


def look(root: Path, settings: Settings) -> Look:
    """Every file below `root` that is not hidden, up to the settings' bounds. Raises OSError where there is none."""
    until, seen = time.monotonic() + settings.workspace_scan_s, Look()
    own = settings.data_dir.stat() if settings.data_dir.exists() else None
    folders = deque([""])
    with _opened(root) as top:
        while folders and seen.is_complete:
            folder = folders.popleft()
            try:
                with _below(top, folder) as descriptor:
                    if (
                        folder and own is not None and os.path.samestat(os.fstat(descriptor), own)
                    ):  # our own state is nobody's workspace
                        continue
                    folders += _read_folder(descriptor, folder, seen, until, settings.workspace_max_files)
            except OSError:  # gone meanwhile, not ours to read, or a link now
                seen.passed_over += 1
    seen.files.sort(key=lambda file: file.path)
    return seen


def _read_folder(descriptor: int, folder: str, seen: Look, until: float, most: int) -> Iterator[str]:
    """Adds its files to `seen`; yields its folders."""
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if len(seen.files) >= most or time.monotonic() > until:
                seen.is_complete = False
                return
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or entry.name.lower() in _NOBODYS:
                continue
            if not _is_storable(path) or entry.is_symlink():
                seen.passed_over += 1
            elif entry.is_dir(follow_symlinks=False):
                if path.count("/") < _MAX_DEPTH:
                    yield path
                else:
                    seen.is_complete = False
            elif entry.is_file(follow_symlinks=False):
                _add(seen, path, entry)
            else:
                seen.passed_over += 1


def _add(seen: Look, path: str, entry: os.DirEntry[str]) -> None:
    try:
        found = entry.stat(follow_symlinks=False)
        modified_at = _EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)
    except (OSError, OverflowError):
        seen.passed_over += 1
        return
    seen.files.append(FoundFile(path, found.st_size, modified_at))


def _is_storable(path: str) -> bool:
    try:
        return len(path.encode()) <= MAX_PATH_BYTES
    except UnicodeEncodeError:  # a name that is no text
        return False


def read(root: Path, path: str, limit_bytes: int) -> bytes | None:
    """A regular file's content; None for one that is longer. Raises OSError."""
    folder, _, name = path.rpartition("/")
    with _opened(root) as top, _below(top, folder) as parent:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("not a file any more")
            content = file.read(limit_bytes + 1)
    return content if len(content) <= limit_bytes else None


@contextmanager
def _opened(root: Path) -> Iterator[int]:
    """The workspace itself may be reached by a link: whoever names it means what it leads to."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _below(top: int, folder: str) -> Iterator[int]:
    """A folder below the open one, reached name by name."""
    at = os.dup(top)
    try:
        for name in folder.split("/") if folder else ():
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        yield at
    finally:
        os.close(at)


# --- the rows


def one_at_a_time() -> threading.Lock:
    """Held by whoever looks: two at once would do the same work twice."""
    return _one_at_a_time


def record(session: Session, seen: Look) -> Changes:
    """Take this look for the last one. Of an incomplete one, what it did not see stays as it was."""
    columns = (_files.c.path, _files.c.size, _files.c.modified_at, _files.c.scanned_at)
    before = {row.path: row for row in session.execute(select(*columns))}
    itself = before.pop(ITSELF, None)
    now, found = utcnow(), {file.path for file in seen.files}
    added = [file for file in seen.files if file.path not in before]
    changed = [file for file in seen.files if file.path in before and _differs(file, before[file.path])]
    removed = sorted(before.keys() - found) if seen.is_complete else []
    stale = [*removed, *(file.path for file in changed), ITSELF]
    session.execute(delete(_files).where(_files.c.path == bindparam("gone")), [{"gone": path} for path in stale])
    rows = [FoundFile(ITSELF, 0, now), *added, *changed]
    session.execute(insert(_files), [asdict(file) | {"scanned_at": now} for file in rows])
    if itself is None:
        return Changes()
    return Changes(itself.scanned_at, _paths(added), _paths(changed), tuple(removed))


def _paths(files: Iterable[FoundFile]) -> tuple[str, ...]:
    return tuple(file.path for file in files)


def _differs(file: FoundFile, row: Row[Any]) -> bool:
    return (file.size, file.modified_at) != (row.size, row.modified_at)


# --- the conversations


def known(session: Session, owner_id: str) -> dict[str, dict[str, Any]]:
    """Path → what was noted of the file when it was read last, of those that are conversations and shown."""
    query = select(_conversations.c.native_id, _conversations.c.extra).where(
        *_theirs(owner_id), _conversations.c.is_archived.is_(False)
    )
    return {row.native_id: row.extra for row in session.execute(query)}


def archive(session: Session, owner_id: str, paths: Collection[str]) -> int:
    """Of files that have gone. Should one come back, it is read like a new one. Returns how many there were."""
    if not paths:
        return 0
    statement = update(_conversations).where(*_theirs(owner_id), _conversations.c.native_id == bindparam("gone"))
    values = statement.values(is_archived=True, content_hash=None)
    session.connection().execute(values, [{"gone": path} for path in paths])
    return len(paths)


def _theirs(owner_id: str) -> tuple[ColumnElement[bool], ...]:
    return _conversations.c.owner_id == owner_id, _conversations.c.source == SOURCE
