"""The log of simonw's `llm` command, an SQLite database in one of two schemas, or both.

A database from a stranger can do harm when it is merely read: views and triggers run its SQL. Only plain tables are
read, by an authorizer that permits SELECT and nothing else, and work is bounded by a progress handler.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from config.errors import UnreadableImport
from workers.importers.archive import MAX_UNPACKED, Member, Upload
from workers.importers.llm_rows import Database, responses, threads
from workers.importers.ports import ImportedConversation, ImportFailure, ImportItem

SOURCE = "llm"
MAX_DATABASE = 4 << 30  # bytes; a zip's is unpacked to the disk first
MAX_VALUE = 64 << 20  # bytes of one value or row
STEPS = 1_000_000  # of SQLite's machine between two calls of the progress handler
MAX_CALLS = 20_000  # of it while one database is read: about ten minutes

_HEAD = b"SQLite format 3\0"
_OLD = {"responses": {"id", "prompt", "response"}}
_NEW = {"threads": {"id", "tip_message_hash"}, "messages": {"hash", "parent_hash"}, "parts": {"message_hash", "type"}}
_READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)


class LLMLogsImporter:
    source = SOURCE

    def recognise(self, file: IO[bytes], filename: str) -> bool:
        try:
            with _opened(file) as database:
                return database is not None and (database.has(_OLD) or database.has(_NEW))
        except (UnreadableImport, sqlite3.Error):
            return False

    def read(self, file: IO[bytes], start: int = 0) -> Iterator[ImportItem]:
        size = file.seek(0, io.SEEK_END)
        with _opened(file) as database:
            if database is None:
                raise UnreadableImport("The file is not an SQLite database.")
            index = 0
            try:
                for found, share in _conversations(database, start):
                    if found is not None:
                        yield ImportItem(index, found, int(size * share), size)
                    index += 1
            except sqlite3.Error as error:
                yield ImportItem(max(index, start), ImportFailure(_why(error)), size, size)


def _conversations(
    database: Database, start: int
) -> Iterator[tuple[ImportedConversation | ImportFailure | None, float]]:
    """Old ones first, each with the share of the database that is done; None for those before `start`."""
    readers = [responses(database)] if database.has(_OLD) else []
    readers += [threads(database)] if database.has(_NEW) else []
    total = sum(reader.count for reader in readers) or 1
    number = 0
    for reader in readers:
        for make in reader:
            number += 1
            yield (make() if number > start else None), number / total


def _why(error: sqlite3.Error) -> str:
    if "interrupted" in str(error):
        return "the database takes too long to read; the rest of it was not imported"
    if "too big" in str(error):
        return f"the database holds a value of more than {MAX_VALUE >> 20} MiB; the rest of it was not imported"
    return "the database is damaged; the rest of it was not imported"


# --- opening what a stranger wrote ---


@contextlib.contextmanager
def _opened(file: IO[bytes]) -> Iterator[Database | None]:
    """None for what is no SQLite database, nor a zip with one inside."""
    with contextlib.ExitStack() as cleanup:
        path = _path(file, cleanup)
        if path is None:
            yield None
            return
        # immutable: nothing is locked, and a journal that lies beside the file is not looked at
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        cleanup.callback(connection.close)
        _restrict(connection)
        yield Database(connection)


def _restrict(connection: sqlite3.Connection) -> None:
    for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "cache_size=-16000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.text_factory = lambda data: data.decode("utf-8", "replace").replace("\0", "")
    calls = 0

    def watch() -> int:
        nonlocal calls
        calls += 1
        return calls > MAX_CALLS

    connection.set_progress_handler(watch, STEPS)
    connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY)


def _path(file: IO[bytes], cleanup: contextlib.ExitStack) -> Path | None:
    file.seek(0)
    head = file.read(len(_HEAD))
    if head == _HEAD:
        return _own_path(file) or _copied(file, cleanup)
    if head[:2] == b"PK":
        upload = Upload(file, "")
        for member in upload.members:
            if member.name.lower().endswith((".db", ".sqlite", ".sqlite3")) and _begins(upload, member):
                return _unpacked(upload, member, cleanup)
    return None


def _begins(upload: Upload, member: Member) -> bool:
    return upload.open(member).read(len(_HEAD)) == _HEAD


def _own_path(file: IO[bytes]) -> Path | None:
    """The path of a file that lies on the disk, so that gigabytes need not be copied."""
    name = getattr(file, "name", None)
    try:
        if isinstance(name, str) and os.path.samestat(os.fstat(file.fileno()), Path(name).stat()):
            return Path(name).resolve()
    except (OSError, ValueError):
        pass
    return None


def _temporary() -> tempfile._TemporaryFileWrapper[bytes]:
    return tempfile.NamedTemporaryFile(prefix="import-", suffix=".db")


def _copied(file: IO[bytes], cleanup: contextlib.ExitStack) -> Path:
    target = cleanup.enter_context(_temporary())
    file.seek(0)
    shutil.copyfileobj(file, target, 1 << 20)
    target.flush()
    return Path(target.name)


def _unpacked(upload: Upload, member: Member, cleanup: contextlib.ExitStack) -> Path:
    limit = min(MAX_DATABASE, MAX_UNPACKED)
    target = cleanup.enter_context(_temporary())
    source = upload.open(member)
    written = 0
    while piece := source.read(1 << 20):
        written += len(piece)
        if written > limit:
            raise UnreadableImport(f"The database in the zip is larger than {limit >> 30} GiB.")
        target.write(piece)
    target.flush()
    return Path(target.name)
