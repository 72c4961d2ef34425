"""A draft whose worker dies is one version all the same."""

from __future__ import annotations

import pytest
import redis

from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tasks.run import JobRun
from tests import factories
from tests.tasks.drafting import DESCRIPTION, TITLE, WRITTEN, ask, events, model, result_of, said, talk, versions
from tests.tasks.scripted_drafts import Scripted
from tests.tasks.test_chats import Killed, kill

__all__ = ["model"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


@pytest.mark.parametrize("words", range(0, len(WRITTEN), 9))
def test_a_killed_worker_is_followed_by_one_that_goes_on(model: Scripted, clean_redis: str, words: int) -> None:
    job_id = ask(talk())
    model.before = lambda number, place: kill() if number == 1 and place >= words else None
    with pytest.raises(Killed):
        run_job(job_id)
    before = said(events(clean_redis, job_id))
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    (version,) = versions()
    assert (version.title, version.description) == (TITLE, DESCRIPTION)
    found = events(clean_redis, job_id)
    assert said(found) == DESCRIPTION
    assert [event["sequence_number"] for event in found] == list(range(2, len(found) + 2))
    assert bool(model.requests[1].resume_text) == bool(before)


def test_a_worker_that_dies_behind_the_version_has_written_it(
    model: Scripted, clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ask(talk())
    with monkeypatch.context() as patch:
        patch.setattr(JobRun, "end", lambda *_args, **_more: kill())
        with pytest.raises(Killed):
            run_job(job_id)
    assert len(versions()) == 1
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(versions()) == len(model.requests) == 1
    assert result_of(job_id)["version_id"] == versions()[0].id
    assert len([event for event in events(clean_redis, job_id) if event["type"] == "project_updated"]) == 1


def test_a_cancel_leaves_no_version(model: Scripted, held: Leases) -> None:
    job_id = ask(talk())
    model.before = lambda _number, place: held._cancel(job_id) if place > 40 else None
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert versions() == []


def test_an_emptied_redis_in_the_middle(model: Scripted, clean_redis: str) -> None:
    job_id = ask(talk())
    model.before = lambda _number, place: redis.Redis.from_url(clean_redis).flushall() if 50 < place < 58 else None
    run_job(job_id)
    found = events(clean_redis, job_id)
    assert found[0]["type"] == "reset"
    assert said(found) == versions()[0].description == DESCRIPTION
