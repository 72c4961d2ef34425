"""A job that is stopped, by a cancel, a worker's end or a lost lease, writes no more than it should."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.errors import Unavailable
from storage import jobs
from storage.database import transaction
from storage.events import EventLog
from storage.jobs import LeaseLost
from storage.tables import LOCAL_OWNER
from tasks.base import run_job
from tasks.leases import Leases
from tasks.run import JobRun, Outcome
from tests import factories
from tests.tasks.conftest import Body
from tests.tasks.job_logs import client, effect, effects, heard, log

__all__ = ["client", "log"]
Does = Callable[[Body], None]
pytestmark = pytest.mark.usefixtures("database", "held")


def test_a_cancelled_job_ends_cancelled(does: Does, log: EventLog) -> None:
    def stop(run: JobRun) -> Outcome:
        run.cancel_requested.set()
        run.check()
        raise AssertionError("not reached")

    does(stop)
    job_id = factories.job()
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert heard(log, job_id)[-1][1] == "cancelled"
    assert effects() == 0


def test_a_cancel_while_the_job_fails_is_not_put_off(does: Does, held: Leases) -> None:
    """The job would wait for its next try first, up to a minute, only to be cancelled then."""

    def fail(run: JobRun) -> Outcome:
        with transaction() as session:
            jobs.cancel(session, run.id, LOCAL_OWNER)
        run.cancel_requested.set()
        raise Unavailable("Not there.")

    does(fail)
    job_id = factories.job()
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"


def test_a_worker_that_stops_gives_the_job_back_unharmed(does: Does, held: Leases, log: EventLog) -> None:
    def stop(run: JobRun) -> Outcome:
        run.content("so far")
        held.stopping.set()
        run.check()
        raise AssertionError("not reached")

    does(stop)
    job_id = factories.job()
    run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.failures, row.run_after, row.sent_at, row.event_seq) == ("queued", 0, None, None, 3)
    held.stopping.clear()
    does(lambda run: (run.restore_text(), Outcome({"text": run.text}))[1])
    run_job(job_id)
    assert factories.load(job_id).result == {"text": "so far"}
    assert heard(log, job_id) == [(2, "started"), (3, "content"), (4, "started"), (5, "done")]


def test_a_stop_after_the_lease_was_lost_is_quiet(does: Does, held: Leases) -> None:
    def stop(run: JobRun) -> Outcome:
        factories.put_back(run.id)
        held.stopping.set()
        run.check()
        raise AssertionError("not reached")

    does(stop)
    job_id = factories.job()
    run_job(job_id)
    assert factories.load(job_id).status == "queued"


def test_a_lost_lease_writes_nothing(does: Does, log: EventLog) -> None:
    """The worker was paused past its lease; another attempt has done the job meanwhile."""

    def overtaken(run: JobRun) -> Outcome:
        factories.put_back(run.id, event_seq=run.event_seq)
        does(lambda again: Outcome({"by": again.attempt}, effect))
        run_job(run.id)
        return Outcome({"by": run.attempt}, effect)

    does(overtaken)
    job_id = factories.job()
    run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.result, row.attempt) == ("succeeded", {"by": 2}, 2)
    assert effects() == 1
    assert heard(log, job_id) == [(2, "started"), (3, "started"), (4, "done")]


def test_a_lost_lease_is_noticed_between_two_steps(does: Does) -> None:
    def overtaken(run: JobRun) -> Outcome:
        factories.put_back(run.id, event_seq=run.event_seq)
        run.lease_lost.set()
        run.check()
        raise AssertionError("not reached")

    does(overtaken)
    job_id = factories.job()
    run_job(job_id)
    assert factories.load(job_id).status == "queued"


def test_the_worker_holds_what_it_runs_and_nothing_else(does: Does, held: Leases) -> None:
    seen: list[list[str]] = []

    def look(run: JobRun) -> Outcome:
        seen.append([one.id for one in held.held()])
        return Outcome({})

    does(look)
    job_id = factories.job()
    run_job(job_id)
    assert seen == [[job_id]]
    assert held.held() == []


def test_lease_lost_names_the_job() -> None:
    with pytest.raises(LeaseLost, match="gone"), transaction() as session:
        jobs.fence(session, "gone", 1)
