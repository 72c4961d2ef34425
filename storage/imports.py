"""The ledger of an import: one row per conversation found, with what became of it and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, func, select
from sqlmodel import Session, col

from storage import bulk
from storage.tables import ImportItem

_items: Table = ImportItem.__table__  # type: ignore[attr-defined]


def record(session: Session, job_id: str, items: Sequence[dict[str, Any]]) -> None:
    """`items` hold ImportItem columns. Written in the slice's transaction, so an index is recorded exactly once."""
    bulk.insert(session, _items, ({"job_id": job_id, **item} for item in items))


def tally(session: Session, job_id: str) -> dict[str, Any]:
    """The job's result: {conversations: {created, updated, unchanged, skipped, failed}, messages}."""
    counts = {"created": 0, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 0}
    messages = 0
    query = (
        select(_items.c.status, func.count(), func.sum(_items.c.messages))
        .where(_items.c.job_id == job_id)
        .group_by(_items.c.status)
    )
    for status, number, written in session.execute(query):
        counts[status] = number
        messages += written or 0
    return {"conversations": counts, "messages": messages}


def next_index(session: Session, job_id: str) -> int:
    """Where a new attempt goes on: everything below is recorded."""
    highest = session.execute(select(func.max(_items.c.item_index)).where(_items.c.job_id == job_id)).scalar_one()
    return 0 if highest is None else highest + 1


def page(session: Session, job_id: str, *, status: str | None, limit: int, offset: int) -> tuple[list[ImportItem], int]:
    """In file order, and how many there are in all."""
    conditions = [col(ImportItem.job_id) == job_id, *([col(ImportItem.status) == status] if status else [])]
    total = session.execute(select(func.count()).select_from(_items).where(*conditions)).scalar_one()
    query = select(ImportItem).where(*conditions).order_by(col(ImportItem.item_index)).limit(limit).offset(offset)
    return list(session.execute(query).scalars()), total
