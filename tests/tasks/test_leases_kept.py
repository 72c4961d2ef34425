"""A heartbeat keeps what a worker runs and brings it the news."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage import jobs
from storage.database import transaction
from storage.events import EventLog
from storage.tables import LOCAL_OWNER
from tasks.leases import Leases
from tasks.run import JobRun
from tests import factories
from tests.tasks.conftest import Body
from tests.tasks.job_logs import client, log

__all__ = ["client", "log"]
Does = Callable[[Body], None]
pytestmark = pytest.mark.usefixtures("database", "held")


def test_heartbeats_keep_leases_and_bring_news(held: Leases, log: EventLog) -> None:
    kept, lost, cancelled = (JobRun(factories.running(), log, held.stopping) for _ in range(3))
    for run in (kept, lost, cancelled):
        held.add(run)
        run.emit("started")
    factories.put_back(lost.id)
    with transaction() as session:
        jobs.cancel(session, cancelled.id, LOCAL_OWNER)
    factories.change(kept.id, lease_until=factories.ago(1))
    held._renew(held.held())
    row = factories.load(kept.id)
    assert row.lease_until is not None
    assert row.lease_until > factories.ago(0)
    assert row.event_seq == 2
    assert [run.lease_lost.is_set() for run in (kept, lost, cancelled)] == [False, True, False]
    assert [run.cancel_requested.is_set() for run in (kept, lost, cancelled)] == [False, False, True]


def test_a_cancel_that_is_announced_is_heard_at_once(held: Leases, log: EventLog) -> None:
    run = JobRun(factories.running(), log, held.stopping)
    held.add(run)
    held._cancel("somebody else's")
    assert not run.cancel_requested.is_set()
    held._cancel(run.id)
    assert run.cancel_requested.is_set()


def test_a_finished_run_is_not_called_lost(held: Leases, log: EventLog) -> None:
    run = JobRun(factories.running(), log, held.stopping)
    factories.finish(run.id)
    held._renew([run])
    assert not run.lease_lost.is_set()
