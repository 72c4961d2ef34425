"""Upkeep: what was accepted and is not on its way is put on its way again."""

from __future__ import annotations

import time

import redis

from config.celery import celery_app
from config.logging import log
from config.queues import KINDS
from storage import backlog, blobs, queue
from storage.database import reading, transaction
from storage.tables import Job
from tasks.base import bury_or_put_back
from tasks.embeddings import embed_leftovers
from tasks.files import remove_gone_objects, store_leftovers

BATCH = 500


@celery_app.task(name="upkeep.sweep")  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Free the jobs of dead workers; send what was never sent, is due for a retry, or was lost with the broker."""
    with reading() as session:
        lost = backlog.expired(session)
    for row in lost:
        bury_or_put_back(row)
    for name in sorted({spec.queue for spec in KINDS.values()}):
        _resend(name)
    embed_leftovers()


def _resend(name: str) -> None:
    with reading() as session:
        rows = backlog.due(session, name, BATCH)
    if not rows:
        return
    # Rows sent before may simply be waiting their turn on the broker: only as many as it misses are sent again. A copy
    # too many is harmless (the claim takes one), a message too few would be a lost job.
    fresh = [row for row in rows if row.sent_at is None or (row.run_after is not None and row.sent_at < row.run_after)]
    stale = [row for row in rows if row not in fresh]
    if stale:
        try:
            with reading() as session:
                missing = backlog.count_sent(session, name) - queue.length(name)
        except redis.RedisError:
            return
        stale = stale[: max(0, missing)]
    _send(name, fresh + stale)


def _send(name: str, rows: list[Job]) -> None:
    if not rows:
        return
    sent = []
    for row in rows:
        if not queue.send(row.kind, row.id, row.priority):
            break
        sent.append(row.id)
    if sent:
        with transaction() as session:
            backlog.mark_sent(session, sent)
        log.info("sent again", queue=name, jobs=len(sent))


@celery_app.task(name="upkeep.purge")  # type: ignore[untyped-decorator]
def purge() -> None:
    """Forget what is past its retention."""
    with transaction() as session:
        removed = backlog.purge(session)
    with reading() as session:
        needed = backlog.needed_blobs(session)
    files = blobs.purge(needed, older_than_s=24 * 3600, now_s=time.time())
    objects = remove_gone_objects()
    store_leftovers()
    if removed or files or objects:
        log.info("purged", jobs=removed, files=files, objects=objects)
