"""Kind `import`: a file's conversations become rows, slice by slice; after a kill the next attempt goes on behind."""

from __future__ import annotations

import hashlib
import io
import time
from datetime import datetime
from typing import IO, Any

import orjson

from config.errors import FormatChanged, UnreadableImport
from config.logging import log
from config.queues import Kind
from config.settings import get_settings
from config.share_links import parse_link
from storage import blobs, conversations, imports
from storage.database import DatabaseError, is_duplicate, reading
from storage.tables import utcnow
from tasks.base import job
from tasks.embeddings import request_embedding
from tasks.run import JobRun, Outcome
from workers.importers.detect import importer_for
from workers.ports import ImportedConversation, ImportedMessage, ImportFailure, ImportItem
from workers.shares import SAVE_IT, fetch

# A slice is committed when it holds this much: small enough that a chat's commit waits a moment only, large enough that
# the commit itself costs little.
SLICE_CONVERSATIONS = 100
SLICE_MESSAGES = 2000
SLICE_BYTES = 4_000_000
# Reading ahead of the database is pointless and slices of slow files should still show: commit at least this often.
SLICE_S = 2.0
# Every conversation is in the ledger; the event log tells of the first ones and of all failures among the next.
ITEM_EVENTS = 2000
_RACES_TRIED = 5


@job(Kind.IMPORT)
def import_file(run: JobRun) -> Outcome:
    with blobs.path(_blob(run)).open("rb") as file:
        _read_into_rows(run, file)
    with reading() as session:
        result = imports.tally(session, run.id)
    if run.progress_now:
        run.progress_now = run.progress_now | {"done": run.progress_now["total"]}  # the bytes behind the last item too
    log.info("imported", **result["conversations"], messages=result["messages"])
    return Outcome(result)


def _blob(run: JobRun) -> str:
    """The uploaded file; or what a share link shows, fetched once and kept, so that every attempt reads the same."""
    if run.input.get("blob"):
        return str(run.input["blob"])
    kept = (run.job.checkpoint or {}).get("blob")
    if kept is None:
        run.emit("status", status="fetching")
        content = fetch(parse_link(run.input["url"]), get_settings(), run.should_stop)
        run.check()
        kept, _ = blobs.store(io.BytesIO(content), len(content))
        with run.slice(checkpoint={"blob": kept}):
            pass
    return str(kept)


def _read_into_rows(run: JobRun, file: IO[bytes]) -> None:
    run.check()
    try:
        importer = importer_for(file, run.input.get("filename", ""))
    except UnreadableImport as error:
        if not run.input.get("url"):
            raise
        raise FormatChanged(f"The page behind the link was not understood. {SAVE_IT}") from error
    with reading() as session:
        start = imports.next_index(session, run.id)
    file.seek(0)
    pending = _Slice(run, importer.source)
    for item in importer.read(file, start):
        run.check()
        pending.add(item)
        if pending.is_full():
            pending.close()
    pending.close()


class _Slice:
    def __init__(self, run: JobRun, source: str) -> None:
        self._run, self._source = run, source
        self._items: list[ImportItem] = []
        self._messages = 0
        self._bytes_from = 0
        self._opened = time.monotonic()

    def add(self, item: ImportItem) -> None:
        self._items.append(item)
        if isinstance(item.found, ImportedConversation):
            self._messages += len(item.found.messages)

    def is_full(self) -> bool:
        return (
            len(self._items) >= SLICE_CONVERSATIONS
            or self._messages >= SLICE_MESSAGES
            or self._items[-1].bytes_done - self._bytes_from >= SLICE_BYTES
            or time.monotonic() - self._opened > SLICE_S
        )

    def close(self) -> None:
        if not self._items:
            return
        prepared = [
            (item, self._columns(item.found) if isinstance(item.found, ImportedConversation) else None)
            for item in self._items
        ]
        for tried in range(_RACES_TRIED):
            try:
                ledger = self._write(prepared)
                break
            except DatabaseError as error:
                # Another import of the same conversation committed in between (PostgreSQL): now it is an update.
                if not is_duplicate(error) or tried == _RACES_TRIED - 1:
                    raise
        self._tell(ledger)
        self._bytes_from = self._items[-1].bytes_done
        self._items, self._messages, self._opened = [], 0, time.monotonic()

    def _columns(self, found: ImportedConversation) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        given = self._run.input
        found.url = given.get("url") or found.url
        if into := given.get("into"):
            found.source, found.native_id = into["source"], into["native_id"]
        elif given.get("duplicates") == "create_new":
            # Beside what is there, and once only however often this job is tried.
            found.native_id = f"{found.native_id}#{self._run.id}"
        return _columns(found)

    def _write(
        self, prepared: list[tuple[ImportItem, tuple[dict[str, Any], list[dict[str, Any]]] | None]]
    ) -> list[dict[str, Any]]:
        last = self._items[-1]
        progress = {"done": last.bytes_done, "total": last.bytes_total, "unit": "bytes"}
        ledger = []
        with self._run.slice(progress=progress) as session:
            for item, columns in prepared:
                row: dict[str, Any] = {"item_index": item.index, "reason": None, "conversation_id": None, "messages": 0}
                found = item.found
                if isinstance(found, ImportFailure):
                    row |= {
                        "status": "failed",
                        "reason": found.reason,
                        "title": found.title,
                        "native_id": found.native_id,
                    }
                else:
                    assert columns is not None
                    done = conversations.upsert(session, self._run.owner_id, *columns)
                    row |= {"status": done.status, "title": found.title, "native_id": found.native_id}
                    row |= {
                        "conversation_id": done.conversation_id,
                        "messages": done.messages,
                        "reason": "; ".join(found.notes) or None,
                    }
                ledger.append(row)
            imports.record(session, self._run.id, ledger)
            if any(row["status"] in ("created", "updated") for row in ledger):
                request_embedding(session, self._run.owner_id)
        return ledger

    def _tell(self, ledger: list[dict[str, Any]]) -> None:
        names = ("item_index", "status", "reason", "title", "conversation_id")
        told = [row for row in ledger if row["item_index"] < ITEM_EVENTS * (10 if row["status"] == "failed" else 1)]
        self._run.emit_all({"type": "item", **{name: row[name] for name in names}} for row in told)
        last = self._items[-1]
        self._run.progress(last.bytes_done, last.bytes_total, "bytes", "importing", conversations=last.index + 1)


def _columns(found: ImportedConversation) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The port's dataclass as the columns of storage.conversations.upsert."""
    shown = _shown_path(found)
    messages = [
        _message(message, position, message.native_id in shown) for position, message in enumerate(found.messages)
    ]
    now = utcnow()
    created = found.created_at or next((m.created_at for m in found.messages if m.created_at), None) or now
    conversation = {
        "source": found.source,
        "native_id": found.native_id,
        "url": found.url,
        "title": found.title,
        "model": found.model,
        "is_archived": found.is_archived,
        "has_attachments": any(message.parts.get("attachments") for message in found.messages),
        "extra": found.metadata,
        "created_at": created,
        "updated_at": found.updated_at or created,
        **found.columns,
    }
    hashed = orjson.dumps(
        [found.title, found.is_archived, found.metadata, messages], default=_iso, option=orjson.OPT_NON_STR_KEYS
    )
    conversation["content_hash"] = hashlib.sha256(hashed).hexdigest()
    return conversation, messages


def _iso(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()


def _message(message: ImportedMessage, position: int, on_path: bool) -> dict[str, Any]:
    return {
        "native_id": message.native_id,
        "parent_native_id": message.parent_native_id,
        "position": position,
        "on_path": on_path,
        "role": message.role,
        "author_name": message.author_name,
        "content": message.content,
        "visibility": message.visibility,
        "model": message.model,
        "parts": message.parts,
        "created_at": message.created_at,
        **message.columns,
    }


def _shown_path(found: ImportedConversation) -> set[str]:
    """Native ids from the current message up to its root."""
    parents = {message.native_id: message.parent_native_id for message in found.messages}
    path: set[str] = set()
    at = found.current_native_id
    while at is not None and at in parents and at not in path:
        path.add(at)
        at = parents[at]
    return path
