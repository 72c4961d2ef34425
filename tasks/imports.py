"""Kind `import`: a file's conversations become rows, slice by slice; after a kill the next attempt goes on behind."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import IO, Any

from config.errors import FormatChanged, QueueFull, QuotaUsedUp, UnreadableImport
from config.logging import log
from config.queues import KINDS, Kind
from config.settings import get_settings
from config.share_links import parse_link
from storage import blobs, imported, imports, jobs, queue, usage
from storage.database import DatabaseError, Session, is_duplicate, reading
from storage.filters import OWN_SOURCE
from storage.imported import Upserted
from storage.jobs import NewJob
from tasks import import_belongings
from tasks.base import job
from tasks.embeddings import request_embedding
from tasks.import_belongings import Received
from tasks.import_rows import columns
from tasks.run import JobRun, Outcome
from workers.importers.detect import importer_for
from workers.importers.ports import ImportedConversation, ImportFailure, ImportItem
from workers.shares import SAVE_IT, fetch

# A slice is committed when it holds this much: small enough that a chat's commit waits a moment only, large enough that
# the commit itself costs little.
SLICE_CONVERSATIONS = 200
SLICE_MESSAGES = 3000
SLICE_BYTES = 4_000_000
# Reading ahead of the database is pointless and slices of slow files should still show: commit at least this often.
SLICE_S = 2.0
# Every conversation is in the ledger; the event log tells of the first ones and of all failures among the next.
ITEM_EVENTS = 2000
# Low: many at once must not keep a person waiting who wants one.
SUMMARY_PRIORITY = 2
_RACES_TRIED = 5


@job(Kind.IMPORT)
def import_file(run: JobRun) -> Outcome:
    with blobs.path(_blob(run)).open("rb") as file:
        _read_into_rows(run, file)
    with reading() as session:
        result = imports.tally(session, run.id)
    if run.input.get("url") and 0 < result["conversations"]["failed"] == sum(result["conversations"].values()):
        raise FormatChanged(f"No conversation could be read from the page behind the link. {SAVE_IT}")
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


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A conversation as it will be written: its own columns, its messages' and its files."""

    item: ImportItem
    found: ImportedConversation
    columns: tuple[dict[str, Any], list[dict[str, Any]]]
    files: list[Received]


class _Slice:
    def __init__(self, run: JobRun, source: str) -> None:
        self._run, self._source = run, source
        self._items: list[_Prepared | ImportItem] = []  # the latter are failures, and what is skipped
        self._messages = 0
        self._bytes_from, self._last = 0, ImportItem(-1, ImportFailure(""), 0, 0)
        self._opened = time.monotonic()

    def add(self, item: ImportItem) -> None:
        self._last = item
        self._items.append(self._prepared(item))
        if isinstance(item.found, ImportedConversation):
            self._messages += len(item.found.messages)

    def is_full(self) -> bool:
        return (
            len(self._items) >= SLICE_CONVERSATIONS
            or self._messages >= SLICE_MESSAGES
            or self._last.bytes_done - self._bytes_from >= SLICE_BYTES
            or time.monotonic() - self._opened > SLICE_S
        )

    def close(self) -> None:
        if not self._items:
            return
        for tried in range(_RACES_TRIED):
            try:
                ledger = self._write()
                break
            except DatabaseError as error:
                # Another import of the same conversation committed in between (PostgreSQL): now it is an update.
                if not is_duplicate(error) or tried == _RACES_TRIED - 1:
                    raise
        self._tell(ledger)
        self._bytes_from = self._last.bytes_done
        self._items, self._messages, self._opened = [], 0, time.monotonic()

    def _prepared(self, item: ImportItem) -> _Prepared | ImportItem:
        found, given = item.found, self._run.input
        if isinstance(found, ImportFailure) or (not found.messages and self._source != OWN_SOURCE):
            return item  # of ours, also the empty ones come back
        found.url = given.get("url") or found.url
        if into := given.get("into"):
            found.source, found.native_id = into["source"], into["native_id"]
        elif given.get("duplicates") == "create_new":
            # Beside what is there, and once only however often this job is tried.
            found.native_id = f"{found.native_id}#{self._run.id}"
        received = import_belongings.receive(self._run, found) if found.belongings is not None else []
        return _Prepared(item, found, columns(found), received)

    def _write(self) -> list[dict[str, Any]]:
        progress = {"done": self._last.bytes_done, "total": self._last.bytes_total, "unit": "bytes"}
        with self._run.slice(progress=progress) as session:
            prepared = [one.columns for one in self._items if isinstance(one, _Prepared)]
            written = iter(imported.upsert_all(session, self._run.owner_id, prepared))
            ledger = [
                self._finish_one(session, one, next(written)) if isinstance(one, _Prepared) else _left_out(one)
                for one in self._items
            ]
            imports.record(session, self._run.id, ledger)
            if any(row["status"] in ("created", "updated") for row in ledger):
                request_embedding(session, self._run.owner_id)
        return ledger

    def _finish_one(self, session: Session, one: _Prepared, done: Upserted) -> dict[str, Any]:
        """What comes on top of its messages, and its line of the ledger."""
        found, owner_id = one.found, self._run.owner_id
        status, notes = done.status, [*found.notes, *([done.reason] if done.reason else [])]
        if found.belongings is not None:
            added, told = import_belongings.add(session, owner_id, done, found.belongings, one.files)
            status = "updated" if added and status == "unchanged" else status
            notes += told
        if self._run.input.get("accept_summarization") and status in ("created", "updated"):
            notes += self._ask_for_summary(session, done.conversation_id)
        return _row(one.item, status, "; ".join(notes) or None, done.conversation_id, done.messages)

    def _ask_for_summary(self, session: Session, conversation_id: str) -> list[str]:
        """A job that writes it, as far as its queue and the owner's quota go; or why there is none."""
        owner_id = self._run.owner_id
        try:
            jobs.check_room(session, KINDS[Kind.SUMMARIZE].queue, owner_id)
            usage.check(session, owner_id)
        except (QueueFull, QuotaUsedUp) as error:
            return [f"no summary is made of it: {error.detail}"]
        wanted = {"conversation_id": conversation_id, "model": self._run.input.get("model")}
        new = NewJob(
            Kind.SUMMARIZE,
            owner_id,
            wanted,
            priority=SUMMARY_PRIORITY,
            serial_key=f"summarize:{conversation_id}",
            conversation_id=conversation_id,
        )
        queue.send_after_commit(session, [jobs.add(session, new)])
        return []

    def _tell(self, ledger: list[dict[str, Any]]) -> None:
        names = ("item_index", "status", "reason", "title", "conversation_id")
        told = [row for row in ledger if row["item_index"] < ITEM_EVENTS * (10 if row["status"] == "failed" else 1)]
        self._run.emit_all({"type": "item", **{name: row[name] for name in names}} for row in told)
        last = self._last
        self._run.progress(last.bytes_done, last.bytes_total, "bytes", "importing", conversations=last.index + 1)


def _left_out(item: ImportItem) -> dict[str, Any]:
    found = item.found
    if isinstance(found, ImportFailure):
        return _row(item, "failed", found.reason)
    return _row(item, "skipped", "; ".join(found.notes) or "the conversation holds no messages")


def _row(
    item: ImportItem, status: str, reason: str | None, conversation_id: str | None = None, messages: int = 0
) -> dict[str, Any]:
    """A line of the ledger."""
    return {
        "item_index": item.index,
        "status": status,
        "reason": reason,
        "title": item.found.title,
        "native_id": item.found.native_id,
        "conversation_id": conversation_id,
        "messages": messages,
    }
