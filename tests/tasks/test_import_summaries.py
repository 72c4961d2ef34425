"""An import that was asked to has each conversation summarised that it made or changed, once."""

from __future__ import annotations

import io
from typing import Any

import pytest

from config.errors import Unavailable
from config.queues import Kind
from config.settings import reset_settings
from storage import blobs, summaries
from storage.database import reading
from storage.tables import Job
from tasks import imports as task
from tasks.base import run_job
from tests import factories
from tests.exports import chatgpt_conversation, chatgpt_json
from tests.tasks.test_imports import counts, ledger

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def summarised(*made: Any, **given: Any) -> Job:
    digest, _ = blobs.store(io.BytesIO(chatgpt_json(list(made))), 10**8)
    given = {"blob": digest, "filename": "x", "accept_summarization": True, **given}
    job_id = factories.job(Kind.IMPORT, input=given)
    run_job(job_id)
    return factories.load(job_id)


def test_a_summary_is_asked_for_of_what_is_created_or_updated() -> None:
    job = summarised(chatgpt_conversation("a"), chatgpt_conversation("b"), chatgpt_conversation("c", turns=[]))
    assert counts(job) == {"created": 2, "skipped": 1}
    asked = factories.all_jobs(Kind.SUMMARIZE)
    assert [one.conversation_id for one in asked] == [row.id for row in factories.all_conversations()]
    assert all(one.input == {"conversation_id": one.conversation_id, "model": None} for one in asked)
    longer = chatgpt_conversation("a", turns=[("user", "Hello?"), ("assistant", "Bye.")])
    assert counts(summarised(longer, chatgpt_conversation("b"), model="extractive")) == {"updated": 1, "unchanged": 1}
    (latest,) = factories.all_jobs(Kind.SUMMARIZE)[2:]
    assert (latest.conversation_id, latest.input["model"]) == (asked[0].conversation_id, "extractive")
    for one in [*asked, latest]:
        run_job(one.id)
        assert factories.load(one.id).status == "succeeded", factories.load(one.id).error
    with reading() as session:
        assert all(summaries.find(session, row.id) for row in factories.all_conversations())


def test_no_more_summaries_than_the_queue_takes(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("OWNER_QUEUE_LIMIT", "2")
    reset_settings()
    job = summarised(*(chatgpt_conversation(name) for name in "abc"))
    assert counts(job) == {"created": 3}
    assert len(factories.all_jobs(Kind.SUMMARIZE)) == 2
    assert [bool(row.reason and "no summary" in row.reason) for row in ledger(job.id)] == [False, False, True]


def test_an_import_that_is_killed_asks_for_each_summary_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [chatgpt_conversation(name) for name in "abcd"]
    monkeypatch.setattr(task, "SLICE_CONVERSATIONS", 1)
    digest, _ = blobs.store(io.BytesIO(chatgpt_json(made)), 10**8)
    job_id = factories.job(Kind.IMPORT, input={"blob": digest, "filename": "x", "accept_summarization": True})
    write, done = task._Slice._write, []

    def dies(self: Any) -> Any:
        if len(done) == 2:
            raise Unavailable("gone")
        done.append(1)
        return write(self)

    with monkeypatch.context() as broken:
        broken.setattr(task._Slice, "_write", dies)
        run_job(job_id)
    assert len(factories.all_jobs(Kind.SUMMARIZE)) == 2
    factories.change(job_id, run_after=None)
    run_job(job_id)
    assert counts(factories.load(job_id)) == {"created": 4}
    assert len({one.conversation_id for one in factories.all_jobs(Kind.SUMMARIZE)}) == 4
    assert len(factories.all_jobs(Kind.SUMMARIZE)) == 4
