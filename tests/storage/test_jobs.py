"""The ledger: claim, fence, finish, put back, cancel, replay."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from config.errors import Conflict, NotFound
from config.queues import Kind
from config.settings import get_settings
from storage import conversations, jobs
from storage.database import reading, transaction
from storage.jobs import LeaseLost, NewJob
from storage.tables import LOCAL_OWNER, utcnow
from tests import factories
from tests.servers import wait_until

# --- claim


def test_claim_takes_a_queued_job_once(database: str) -> None:
    job_id = factories.job()
    first, second = factories.claim(job_id, "a"), factories.claim(job_id, "b")
    assert first is not None
    assert (first.attempt, first.worker, first.status) == (1, "a", "running")
    assert first.lease_until > utcnow()
    assert first.started_at is not None
    assert second is None


def test_claim_of_an_unknown_job_is_nothing(database: str) -> None:
    assert factories.claim("no such job") is None


def test_many_threads_claim_many_jobs_and_each_is_taken_once(database: str) -> None:
    job_ids = [factories.job() for _ in range(12)]

    def claim_all(worker: str) -> list[str]:
        return [row.id for job_id in job_ids if (row := factories.claim(job_id, worker)) is not None]

    taken = factories.at_once(*(lambda name=f"w{number}": claim_all(name) for number in range(6)))
    assert sorted(job_id for share in taken for job_id in share) == sorted(job_ids)
    assert {factories.load(job_id).attempt for job_id in job_ids} == {1}


def test_a_job_that_is_not_due_is_not_to_be_had(database: str) -> None:
    job_id = factories.job()
    factories.change(job_id, run_after=factories.ago(-60))
    assert factories.claim(job_id) is None
    factories.change(job_id, run_after=factories.ago(1))
    row = factories.claim(job_id)
    assert row is not None
    assert row.run_after is None


def test_serial_jobs_run_one_after_the_other_in_order(database: str) -> None:
    first, second, third = (factories.job(serial_key="s") for _ in range(3))
    other = factories.job(serial_key="another")
    assert factories.claim(third) is None
    assert factories.claim(second) is None
    assert factories.claim(first) is not None
    assert factories.claim(second) is None
    assert factories.claim(other) is not None
    assert factories.finish(first) == [second]
    assert factories.claim(third) is None
    assert factories.claim(second) is not None


def test_a_serial_job_that_waits_for_its_retry_keeps_its_place(database: str) -> None:
    first, second = factories.job(serial_key="s"), factories.job(serial_key="s")
    factories.claim(first)
    factories.put_back(first, delay_s=60)
    assert factories.claim(first) is None
    assert factories.claim(second) is None


def test_claims_of_one_serial_key_at_once_leave_one_running(database: str) -> None:
    for _ in range(5):
        ids = [factories.job(serial_key="s") for _ in range(3)]
        factories.at_once(*(lambda job_id=job_id: factories.claim(job_id) for job_id in ids))
        assert factories.statuses(ids) == ["running", "queued", "queued"]
        for job_id in ids:
            factories.change(job_id, status="cancelled")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_the_index_stops_what_the_claims_own_check_cannot_see(database: str) -> None:
    """A claim that has not committed yet is invisible to another; on SQLite writers take turns."""
    elder, younger = factories.job(serial_key="s"), factories.job(serial_key="s")
    factories.change(elder, status="failed")
    result: list[object] = []
    with transaction() as session:
        assert jobs.claim(session, younger, "a") is not None
        with transaction() as other:
            jobs.replay(other, elder, LOCAL_OWNER)
        thread = threading.Thread(target=lambda: result.append(factories.claim(elder, "b")))
        thread.start()
        wait_until(_somebody_waits_for_a_lock, what="the second claim to meet the first")
    thread.join()
    assert result == [None]
    assert factories.statuses([elder, younger]) == ["queued", "running"]
    assert factories.finish(younger) == [elder]


def _somebody_waits_for_a_lock() -> bool:
    with reading() as session:
        return bool(session.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())


# --- what a worker writes


STALE_WRITES = {
    "fence": partial(jobs.fence, checkpoint={"at": 1}),
    "finish": partial(jobs.finish, status="succeeded", event_seq=9, result={}),
    "put_back": partial(jobs.put_back, event_seq=9, delay_s=0, failed=True, error=None),
}


@pytest.mark.parametrize("write", STALE_WRITES)
def test_a_stale_attempt_writes_nothing(database: str, write: str) -> None:
    job_id = factories.running().id
    factories.put_back(job_id)
    again = factories.claim(job_id)
    assert again is not None
    assert again.attempt == 2
    before = factories.load(job_id)

    with pytest.raises(LeaseLost), transaction() as session:  # noqa: PT012 - the effect before it must not stay
        conversations.create(session, LOCAL_OWNER, "an effect")
        STALE_WRITES[write](session, job_id, 1)

    assert factories.load(job_id) == before
    assert factories.all_conversations() == []


def test_fence_records_values_and_prolongs_the_lease(database: str) -> None:
    row = factories.running()
    factories.change(row.id, lease_until=factories.ago(1))
    with transaction() as session:
        jobs.fence(session, row.id, 1, checkpoint={"at": 7})
    after = factories.load(row.id)
    assert after.checkpoint == {"at": 7}
    assert after.lease_until is not None
    assert after.lease_until > utcnow()


def test_finish_ends_the_job_with_its_effect(database: str) -> None:
    row = factories.running()
    with transaction() as session:
        jobs.finish(session, row.id, 1, "succeeded", event_seq=5, result={"answer": 42})
        conversations.create(session, LOCAL_OWNER, "an effect")
    ended = factories.load(row.id)
    assert (ended.status, ended.result, ended.event_seq, ended.lease_until) == ("succeeded", {"answer": 42}, 5, None)
    assert ended.finished_at is not None
    assert [row.title for row in factories.all_conversations()] == ["an effect"]


def test_an_ended_job_cannot_end_again(database: str) -> None:
    row = factories.running()
    factories.finish(row.id)
    with pytest.raises(LeaseLost):
        factories.finish(row.id, status="failed")
    assert factories.load(row.id).status == "succeeded"


def test_a_job_with_a_webhook_leaves_a_webhook_job_behind(database: str) -> None:
    job_id = factories.job(webhook_url="http://example.org/hook")
    factories.claim(job_id)
    (webhook_id,) = factories.finish(job_id)
    webhook = factories.load(webhook_id)
    assert (webhook.kind, webhook.status) == ("webhook", "queued")
    assert webhook.input == {"job_id": job_id, "url": "http://example.org/hook"}


def test_put_back_counts_failures_only_when_told(database: str) -> None:
    row = factories.running()
    factories.put_back(row.id, failed=False, event_seq=4)
    waiting = factories.load(row.id)
    assert (waiting.status, waiting.failures, waiting.worker, waiting.run_after) == ("queued", 0, None, None)
    assert (waiting.event_seq, waiting.sent_at, waiting.lease_until) == (4, None, None)
    factories.claim(row.id)
    factories.put_back(row.id, attempt=2, delay_s=30)
    waiting = factories.load(row.id)
    assert waiting.failures == 1
    assert waiting.run_after is not None
    assert 25 < (waiting.run_after - utcnow()).total_seconds() <= 30


def test_the_first_start_of_a_job_is_remembered(database: str) -> None:
    row = factories.running()
    factories.put_back(row.id)
    again = factories.claim(row.id)
    assert again is not None
    assert again.started_at == row.started_at


def test_renew_tells_who_still_holds_and_who_was_cancelled(database: str) -> None:
    held, lost, cancelled = factories.running(), factories.running(), factories.running()
    factories.put_back(lost.id)
    with transaction() as session:
        jobs.cancel(session, cancelled.id, LOCAL_OWNER)
    with transaction() as session:
        told = jobs.renew(
            session,
            [(held.id, 1, 7, {"done": 1}), (lost.id, 1, 7, None), (cancelled.id, 1, 7, None), ("gone", 1, 1, None)],
        )
    assert told == {held.id: False, cancelled.id: True}
    renewed = factories.load(held.id)
    assert (renewed.event_seq, renewed.progress) == (7, {"done": 1})
    assert factories.load(lost.id).event_seq == 2


@given(failures=st.integers(0, 10_000))
def test_backoff_grows_within_bounds(failures: int) -> None:
    settings = get_settings()
    plain = min(settings.retry_max_s, settings.retry_base_s * 2.0 ** min(failures, 16))
    assert plain * 0.5 <= jobs.backoff_s(failures) <= plain * 1.5
    assert jobs.backoff_s(failures) <= settings.retry_max_s * 1.5


# --- what a person does


def test_cancel_ends_a_queued_job_and_names_the_next_of_its_line(database: str) -> None:
    first, second = factories.job(serial_key="s"), factories.job(serial_key="s")
    with transaction() as session:
        row, unblocked = jobs.cancel(session, first, LOCAL_OWNER)
    assert (row.status, row.event_seq, unblocked) == ("cancelled", 2, [second])
    assert row.finished_at is not None
    assert factories.claim(first) is None


def test_cancel_asks_a_running_job_to_stop(database: str) -> None:
    job_id = factories.running().id
    with transaction() as session:
        row, unblocked = jobs.cancel(session, job_id, LOCAL_OWNER)
    assert (row.status, row.cancel_requested, unblocked) == ("running", True, [])


def test_cancel_of_an_ended_job_changes_nothing(database: str) -> None:
    job_id = factories.running().id
    factories.finish(job_id, result={"kept": True})
    before = factories.load(job_id)
    with transaction() as session:
        row, unblocked = jobs.cancel(session, job_id, LOCAL_OWNER)
    assert (row.status, unblocked) == ("succeeded", [])
    assert factories.load(job_id) == before


def test_somebody_elses_job_is_not_found(database: str) -> None:
    job_id, other = factories.job(), factories.owner()
    for call in (jobs.cancel, jobs.replay, jobs.get):
        with pytest.raises(NotFound), transaction() as session:
            call(session, job_id, other)
    assert factories.load(job_id).status == "queued"


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_replay_queues_an_ended_job_again(database: str, status: str) -> None:
    job_id = factories.running().id
    with transaction() as session:
        jobs.fence(session, job_id, 1, checkpoint={"at": 3})
    factories.finish(job_id, status=status, event_seq=6, failures=4, error={"code": "x"})
    with transaction() as session:
        row = jobs.replay(session, job_id, LOCAL_OWNER)
    assert (row.status, row.failures, row.error, row.finished_at) == ("queued", 0, None, None)
    assert (row.event_seq, row.checkpoint, row.cancel_requested) == (7, {"at": 3}, False)
    again = factories.claim(job_id)
    assert again is not None
    assert again.attempt == 2


@pytest.mark.parametrize("status", ["queued", "running", "succeeded"])
def test_replay_refuses_jobs_that_did_not_fail(database: str, status: str) -> None:
    job_id = factories.job()
    if status != "queued":
        factories.claim(job_id)
    if status == "succeeded":
        factories.finish(job_id)
    with pytest.raises(Conflict, match=status), transaction() as session:
        jobs.replay(session, job_id, LOCAL_OWNER)


def test_cancel_and_claim_at_once_agree(database: str) -> None:
    """Either the worker has it and is asked to stop, or nobody ever runs it."""

    def cancel(job_id: str) -> None:
        with transaction() as session:
            jobs.cancel(session, job_id, LOCAL_OWNER)

    for _ in range(8):
        job_id = factories.job()
        claimed, _ = factories.at_once(
            lambda job_id=job_id: factories.claim(job_id), lambda job_id=job_id: cancel(job_id)
        )
        row = factories.load(job_id)
        assert row.cancel_requested
        assert row.status == ("running" if claimed else "cancelled")


# --- listings


def test_pages_are_newest_first_and_complete(database: str) -> None:
    ids = [factories.job() for _ in range(7)]
    factories.job(owner_id=factories.owner())
    seen: list[str] = []
    before = None
    while True:
        with transaction() as session:
            rows = jobs.page(session, LOCAL_OWNER, kind=None, status=None, before=before, limit=3)
        if not rows:
            break
        seen += [row.id for row in rows]
        before = seen[-1]
    assert seen == sorted(ids, reverse=True)


def test_pages_filter_by_kind_and_status(database: str) -> None:
    noop, embed, gone = factories.job(), factories.job(Kind.EMBED), factories.job()
    factories.change(gone, status="cancelled")
    with transaction() as session:

        def found(kind: str | None, status: str | None) -> set[str]:
            rows = jobs.page(session, LOCAL_OWNER, kind=kind, status=status, before=None, limit=10)
            assert jobs.count(session, LOCAL_OWNER, kind=kind, status=status) == len(rows)
            return {row.id for row in rows}

        assert found("noop", None) == {noop, gone}
        assert found(None, "queued") == {noop, embed}
        assert found("noop", "cancelled") == {gone}
        assert found("chat", None) == set()


def test_add_unless_active(database: str) -> None:
    def ask() -> str | None:
        with transaction() as session:
            new = jobs.add_unless_active(session, NewJob(Kind.EMBED, LOCAL_OWNER, serial_key="embed:me"))
            return new.id if new else None

    first = ask()
    assert first is not None
    assert ask() is None
    factories.claim(first)
    assert ask() is None
    factories.finish(first)
    assert ask() is not None
