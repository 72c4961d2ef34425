from __future__ import annotations

import json

import pytest

from config.queues import Kind
from storage import jobs
from storage.database import reading, transaction
from storage.jobs import NewJob
from storage.tables import LOCAL_OWNER, Job
from tasks import all as _all  # noqa: F401 - registers the kinds
from tasks.base import run_job
from tests.workers.notifiers.conftest import Receiver, receiver

__all__ = ["receiver"]


def webhook_job() -> str | None:
    with reading() as session:
        found = jobs.page(session, LOCAL_OWNER, kind="webhook", status=None, before=None, limit=2)
    assert len(found) <= 1
    return found[0].id if found else None


def add(url: str) -> str:
    with transaction() as session:
        return jobs.add(session, NewJob(Kind.NOOP, LOCAL_OWNER, {"echo": 7}, webhook_url=url)).id


@pytest.mark.usefixtures("database", "clean_redis")
def test_a_job_that_ends_is_told_once(receiver: Receiver) -> None:
    job_id = add(receiver.url)
    assert webhook_job() is None
    run_job(job_id)
    notice = webhook_job()
    assert notice is not None
    run_job(notice)
    run_job(notice)  # a second delivery of the message
    assert len(receiver.got) == 1
    told = json.loads(receiver.got[0][1])
    assert told["type"] == "job.succeeded"
    assert told["data"]["id"] == job_id
    assert told["data"]["result"] == {"echo": 7}


@pytest.mark.usefixtures("sqlite", "clean_redis")
def test_a_receiver_that_is_away_is_tried_again(receiver: Receiver, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("RETRY_BASE_S", "0")
    receiver.answers = [503]
    run_job(add(receiver.url))
    notice = webhook_job()
    assert notice is not None
    run_job(notice)
    with reading() as session:
        row = session.get(Job, notice)
        assert row is not None
        assert (row.status, row.failures) == ("queued", 1)


@pytest.mark.usefixtures("sqlite", "clean_redis")
def test_cancelling_a_queued_job_is_told_too(receiver: Receiver) -> None:
    job_id = add(receiver.url)
    with transaction() as session:
        _, started = jobs.cancel(session, job_id, LOCAL_OWNER)
    assert started == [webhook_job()]
    run_job(started[0])
    assert json.loads(receiver.got[0][1])["type"] == "job.cancelled"
