"""The ledger of an import."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from config.queues import Kind
from storage import imports
from storage.database import reading, transaction
from tests import factories


def record(job_id: str, *items: tuple[int, str, int]) -> None:
    rows = [{"item_index": index, "status": status, "messages": messages} for index, status, messages in items]
    with transaction() as session:
        imports.record(session, job_id, rows)


def test_the_next_attempt_goes_on_behind_what_is_recorded(database: str) -> None:
    job_id = factories.job(Kind.IMPORT)
    with reading() as session:
        assert imports.next_index(session, job_id) == 0
    record(job_id)
    record(job_id, (0, "created", 3), (1, "failed", 0))
    with reading() as session:
        assert imports.next_index(session, job_id) == 2


def test_an_index_is_recorded_once(database: str) -> None:
    job_id, other = factories.job(Kind.IMPORT), factories.job(Kind.IMPORT)
    record(job_id, (0, "created", 3))
    record(other, (0, "created", 3))
    with pytest.raises(IntegrityError):
        record(job_id, (1, "created", 1), (0, "created", 3))
    with reading() as session:
        assert imports.next_index(session, job_id) == 1


def test_the_tally_is_the_jobs_result(database: str) -> None:
    job_id = factories.job(Kind.IMPORT)
    with reading() as session:
        nothing = {"created": 0, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 0}
        assert imports.tally(session, job_id) == {"conversations": nothing, "messages": 0}
    record(job_id, (0, "created", 3), (1, "failed", 0), (2, "created", 4), (3, "unchanged", 0))
    with reading() as session:
        assert imports.tally(session, job_id) == {
            "conversations": {"created": 2, "updated": 0, "unchanged": 1, "skipped": 0, "failed": 1},
            "messages": 7,
        }


def test_pages_are_in_file_order(database: str) -> None:
    job_id = factories.job(Kind.IMPORT)
    record(job_id, (2, "created", 0), (0, "created", 0), (1, "failed", 0))
    with reading() as session:
        rows, total = imports.page(session, job_id, status=None, limit=2, offset=0)
        assert ([row.item_index for row in rows], total) == ([0, 1], 3)
        rows, total = imports.page(session, job_id, status="created", limit=2, offset=1)
        assert ([row.item_index for row in rows], total) == ([2], 2)
