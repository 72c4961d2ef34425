"""Kind `embed`: what was said, and what files and drafts hold, becomes searchable; what is gone leaves the vectors. One
job drains all of an owner's changed conversations, in slices."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import groupby
from typing import Any

from config.logging import log
from config.queues import Kind
from storage import backlog, chunks, conversations, drafts, files, gone, indexes, jobs, messages, queue
from storage.database import Session, reading, transaction
from storage.indexes import Target
from storage.jobs import NewJob
from storage.tables import Conversation, utcnow
from storage.vectors import VectorIndex
from tasks.base import job
from tasks.run import JobRun, Outcome
from workers import registry
from workers.embedding.chunking import split
from workers.ports import Embedder

# Conversations looked at together, and chunks embedded and committed together: a second or so of work, so that a killed
# worker repeats little and the database is never held long.
CONVERSATIONS_PER_SLICE = 64
CHUNKS_PER_SLICE = 512
CHUNKS_RETIRED_AT_ONCE = 2000
VECTORS_REMOVED_AT_ONCE = 2000
# Low, so that an owner's chat and searches never wait for bulk work of the same worker.
EMBED_PRIORITY = 2
FAILED_PAUSE_S = 60.0


def request_embedding(session: Session, owner_id: str) -> None:
    """Have changed conversations embedded after this transaction. A job on its way takes them along."""
    new = jobs.add_unless_active(
        session, NewJob(Kind.EMBED, owner_id, priority=EMBED_PRIORITY, serial_key=_serial_key(owner_id))
    )
    if new is not None:
        queue.send_after_commit(session, [new])


def embed_leftovers() -> None:
    """What changed while the last job was ending, was deleted, or was left by one that failed."""
    with reading() as session:
        owners = [
            owner
            for owner in sorted({*indexes.owners_unindexed(session), *gone.owners(session)})
            if not backlog.recently_failed(session, _serial_key(owner), FAILED_PAUSE_S)
        ]
    for owner_id in owners:
        with transaction() as session:
            request_embedding(session, owner_id)


def embed_anew_where_the_model_changed(model: str) -> None:
    """Owners whose index was made by another embedding model get a new one; the old one serves meanwhile."""
    with transaction() as session:
        for owner_id in indexes.owners_of_other_models(session, model):
            request_embedding(session, owner_id)


def _serial_key(owner_id: str) -> str:
    return f"embed:{owner_id}"


@job(Kind.EMBED)
def embed(run: JobRun) -> Outcome:
    """{rebuild}: everything anew into an index beside the one that serves, which then takes its place."""
    embedder = registry.embedder()
    switched = bool((run.job.checkpoint or {}).get("switched"))
    with run.slice() as session:
        rebuild = bool(run.input.get("rebuild")) and not switched
        index = indexes.target(session, run.owner_id, embedder.name, rebuild=rebuild)
    counts = {"conversations": 0, "chunks_added": 0, "chunks_removed": 0}
    _fill(run, embedder, index, counts)
    if index.new:
        with run.slice(checkpoint={"switched": True}) as session:
            indexes.switch(session, run.owner_id)
        log.info("index switched", index=index.name)
        _fill(run, embedder, replace(index, new=False), counts)
    _retire(run)
    _remove_gone(run)
    return Outcome({**counts, "index": index.name})


def _fill(run: JobRun, embedder: Embedder, index: Target, counts: dict[str, int]) -> None:
    while True:
        run.check()
        with reading() as session:
            batch = indexes.unindexed(session, run.owner_id, index, CONVERSATIONS_PER_SLICE)
            left = indexes.count_unindexed(session, run.owner_id, index)
        done = counts["conversations"]
        run.progress(done, done + left, "conversations", "rebuilding" if index.new else "embedding")
        if not batch:
            return
        _Slice(run, embedder, index, counts).write(batch)


def _retire(run: JobRun) -> None:
    """Remove what the index before the last switch held."""
    with reading() as session:
        name = indexes.retiring(session, run.owner_id)
    if name is None:
        return
    vectors = VectorIndex(name)
    while True:
        run.check()
        with reading() as session:
            ids = indexes.chunk_ids(session, run.owner_id, name, CHUNKS_RETIRED_AT_ONCE)
        if not ids:
            break
        vectors.delete(ids)
        with run.slice() as session:
            chunks.remove(session, ids)
    with run.slice() as session:
        is_unused = indexes.retired(session, run.owner_id, name)
    if is_unused:
        vectors.drop()


def _remove_gone(run: JobRun) -> None:
    """What was deleted leaves the vectors, whichever index it was in."""
    while True:
        run.check()
        with reading() as session:
            noted = gone.vectors(session, run.owner_id, VECTORS_REMOVED_AT_ONCE)
        if not noted:
            return
        for name, group in groupby(noted, key=lambda one: one[0]):
            VectorIndex(name).delete([chunk_id for _, chunk_id in group])
        with run.slice() as session:
            gone.keep_vectors(session, [chunk_id for _, chunk_id in noted])


class _Slice:
    """Chunks of several conversations, embedded together because batches across them are longer and better sorted."""

    def __init__(self, run: JobRun, embedder: Embedder, index: Target, counts: dict[str, int]) -> None:
        self._run, self._embedder, self._index, self._counts = run, embedder, index, counts
        self._vectors = VectorIndex(index.name)
        self._rows: list[dict[str, Any]] = []
        self._stale: set[str] = set()
        self._done: list[tuple[str, int]] = []

    def write(self, batch: list[Conversation]) -> None:
        for conversation in batch:
            wanted = {row["id"]: row for row in self._chunks_of(conversation)}
            with reading() as session:
                present = chunks.ids_of(session, conversation.id, self._index.name)
            self._stale |= present - wanted.keys()
            for row in (row for chunk_id, row in wanted.items() if chunk_id not in present):
                self._rows.append(row)
                if len(self._rows) >= CHUNKS_PER_SLICE:
                    self._commit()
            self._done.append((conversation.id, conversation.content_version))
        self._commit()

    def _chunks_of(self, conversation: Conversation) -> list[dict[str, Any]]:
        with reading() as session:
            shown = messages.path(session, conversation.id)
            texts = [(message.id, message.content) for message in shown if message.role in ("user", "assistant")]
            texts += files.texts(session, conversation.id) + drafts.texts(session, conversation.id)
        limit = self._embedder.max_tokens
        return [
            {
                "id": chunk_id(self._index.name, source_id, chunk.start, chunk.text),
                "conversation_id": conversation.id,
                "message_id": source_id,
                "start": chunk.start,
                "end": chunk.end,
                "text": chunk.text,
                "embedding_model": self._index.name,
                "created_at": utcnow(),
            }
            for source_id, text in texts
            for chunk in split(text, self._embedder.count_tokens, limit)
        ]

    def _commit(self) -> None:
        """Vectors first (the same id again changes nothing), then the rows that make them findable. Until those are
        there the vectors count as gone: whatever dies or is deleted in between leaves none behind."""
        self._run.check()
        rows = self._rows
        if rows:
            with self._run.slice() as session:
                gone.note_vectors(session, self._run.owner_id, self._index.name, [row["id"] for row in rows])
            vectors = self._embedder.embed([row["text"] for row in rows])
            metadatas = [{"owner_id": self._run.owner_id, "conversation_id": row["conversation_id"]} for row in rows]
            self._vectors.upsert([row["id"] for row in rows], vectors, metadatas)
        with self._run.slice() as session:
            still_there = conversations.existing(session, {row["conversation_id"] for row in rows})
            found = [row for row in rows if row["conversation_id"] in still_there]
            chunks.add(session, found)
            gone.keep_vectors(session, [row["id"] for row in found])
            chunks.remove(session, self._stale)
            gone.note_vectors(session, self._run.owner_id, self._index.name, self._stale)
            for conversation_id, version in self._done:
                indexes.mark_indexed(session, conversation_id, self._index, version)
        self._counts["conversations"] += len(self._done)
        self._counts["chunks_added"] += len(rows)
        self._counts["chunks_removed"] += len(self._stale)
        log.debug("embedded", chunks=len(rows), conversations=len(self._done))
        self._rows, self._stale, self._done = [], set(), []


def chunk_id(index: str, message_id: str, start: int, text: str) -> str:
    """The same passage of the same message has the same id in every attempt."""
    return hashlib.sha256(f"{index}\0{message_id}\0{start}\0{text}".encode()).hexdigest()[:40]
