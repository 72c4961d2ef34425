"""What upkeep asks the ledger, and what the queue's length is compared with."""

from __future__ import annotations

from datetime import timedelta

import pytest

from config.queues import Kind
from storage import backlog
from storage.database import reading, transaction
from storage.tables import Job, utcnow
from tests import factories


def due(queue: str = "noop", limit: int = 100) -> list[str]:
    with reading() as session:
        return [row.id for row in backlog.due(session, queue, limit)]


def test_what_was_just_sent_is_not_due(database: str) -> None:
    factories.job()
    assert due() == []


def test_what_was_never_sent_is_due_at_once(database: str) -> None:
    job_id = factories.running().id
    factories.put_back(job_id)
    assert due() == [job_id]


def test_what_was_sent_long_ago_is_due_again(database: str) -> None:
    job_id = factories.job()
    factories.change(job_id, sent_at=factories.ago(60))
    assert due() == [job_id]
    assert due("chat") == []


def test_a_retry_is_due_when_its_time_has_come(database: str) -> None:
    job_id = factories.running().id
    factories.put_back(job_id, delay_s=60)
    assert due() == []
    factories.change(job_id, run_after=factories.ago(0.1))
    assert due() == [job_id]


def test_a_message_that_came_too_early_is_sent_again(database: str) -> None:
    """Sent before `run_after`: the worker that got it found the job not due."""
    job_id = factories.job()
    factories.change(job_id, run_after=factories.ago(1), sent_at=factories.ago(2))
    assert due() == [job_id]


def test_only_the_first_of_a_line_is_due(database: str) -> None:
    first, second = factories.job(serial_key="s"), factories.job(serial_key="s")
    for job_id in (first, second):
        factories.change(job_id, sent_at=factories.ago(60))
    assert due() == [first]
    factories.claim(first)
    assert due() == []


def test_urgent_jobs_are_sent_first(database: str) -> None:
    ids = {priority: factories.job(priority=priority) for priority in (1, 9, 5)}
    for job_id in ids.values():
        factories.change(job_id, sent_at=None)
    assert due() == [ids[9], ids[5], ids[1]]
    assert due(limit=1) == [ids[9]]


def test_expired_leases_are_found(database: str) -> None:
    alive, dead, queued = factories.running(), factories.running(), factories.job()
    factories.change(dead.id, lease_until=factories.ago(1))
    with reading() as session:
        assert [row.id for row in backlog.expired(session)] == [dead.id]
    assert factories.load(alive.id).status == "running"
    assert factories.load(queued).status == "queued"


def test_count_sent_counts_what_should_be_on_the_broker(database: str) -> None:
    def count() -> int:
        with reading() as session:
            return backlog.count_sent(session, "noop")

    sent, unsent, later = factories.job(), factories.job(), factories.job()
    factories.running()
    factories.change(unsent, sent_at=None)
    factories.change(later, run_after=utcnow() + timedelta(minutes=1))
    assert count() == 1
    with transaction() as session:
        backlog.mark_sent(session, [unsent])
    assert count() == 2
    assert factories.load(sent).sent_at is not None


def test_purge_forgets_old_ends_and_old_keys_and_nothing_else(database: str) -> None:
    old, kept, waiting = (factories.job(idempotency_key=key, request_hash="h") for key in ("a", "b", "c"))
    long_ago = utcnow() - timedelta(days=200)
    factories.change(old, status="succeeded", finished_at=long_ago, created_at=long_ago)
    factories.change(kept, status="failed", finished_at=utcnow(), created_at=long_ago)
    factories.change(waiting, created_at=long_ago)
    with transaction() as session:
        assert backlog.purge(session) == 1
    assert {row.id for row in factories.all_jobs()} == {kept, waiting}
    assert factories.load(kept).idempotency_key is None


def test_purge_takes_the_ledger_of_an_import_along(database: str) -> None:
    from storage import imports

    row = factories.running(Kind.IMPORT)
    with transaction() as session:
        imports.record(session, row.id, [{"item_index": 0, "status": "created", "messages": 1}])
    factories.finish(row.id)
    factories.change(row.id, finished_at=utcnow() - timedelta(days=200))
    with transaction() as session:
        assert backlog.purge(session) == 1
    with reading() as session:
        assert imports.page(session, row.id, status=None, limit=5, offset=0) == ([], 0)


def test_blobs_are_needed_until_their_import_succeeded(database: str) -> None:
    ids = {name: factories.job(Kind.IMPORT, input={"blob": name}) for name in ("waits", "failed", "done")}
    factories.job(input={"blob": "not an import"})
    factories.change(ids["failed"], status="failed")
    factories.change(ids["done"], status="succeeded")
    with reading() as session:
        assert backlog.needed_blobs(session) == {"waits", "failed"}


@pytest.mark.parametrize(("age_s", "found"), [(5, True), (120, False)])
def test_recent_failures_of_a_line(database: str, age_s: float, found: bool) -> None:
    job_id = factories.job(serial_key="embed:me")
    factories.change(job_id, status="failed", finished_at=factories.ago(age_s))
    with reading() as session:
        assert backlog.recently_failed(session, "embed:me", 60) is found


def test_depths_positions_and_means(database: str) -> None:
    first, second = factories.job(), factories.job()
    urgent = factories.job(priority=9)
    running = factories.running(Kind.EMBED)
    done = factories.job(Kind.EMBED)
    factories.change(done, status="succeeded", started_at=factories.ago(5), finished_at=factories.ago(3))
    with reading() as session:
        assert backlog.depths(session) == {"noop": {"queued": 3, "running": 0}, "embed": {"queued": 0, "running": 1}}
        places = [backlog.position(session, session.get_one(Job, job_id)) for job_id in (urgent, first, second)]
        assert places == [1, 2, 3]
        assert backlog.mean_run_s(session, "noop") is None
        assert backlog.mean_run_s(session, "embed") == pytest.approx(2.0, abs=0.2)
    assert factories.load(running.id).status == "running"


def test_who_blocks_a_serial_job(database: str) -> None:
    first, second, free = factories.job(serial_key="s"), factories.job(serial_key="s"), factories.job()
    with reading() as session:
        assert backlog.serial_blocker(session, session.get_one(Job, first)) is None
        assert backlog.serial_blocker(session, session.get_one(Job, second)) == first
        assert backlog.serial_blocker(session, session.get_one(Job, free)) is None
