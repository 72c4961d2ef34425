"""A conversation that is too long for the model becomes a draft by its summary, if that is wanted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage import summaries
from storage.database import reading
from tasks.base import bury_or_put_back, run_job
from tests import factories
from tests.tasks.drafting import DESCRIPTION, WRITTEN, ask, drafted, events, failed, result_of, said, talk, told
from tests.tasks.scripted_drafts import Scripted, scripted
from tests.tasks.test_chats import Killed, kill

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted(monkeypatch, Scripted(800, "json_schema")) as model:
        model.answer = lambda request: WRITTEN if request.sampling.response_format else "A summary of roses."
        yield model


def test_a_conversation_that_is_too_long_asks_first(small: Scripted, clean_redis: str) -> None:
    job_id = ask(talk(200))
    run_job(job_id)
    assert failed(job_id)["code"] == "prompt_too_long"
    (conflict,) = [one for one in events(clean_redis, job_id) if one.get("status") == "model_limit_conflict"]
    assert "longer than" in conflict["message"]
    assert "accept_summarization" in conflict["suggestion"]
    assert small.requests == []


def test_one_that_may_be_summarised_is(small: Scripted, clean_redis: str) -> None:
    conversation = talk(200)
    job_id = ask(conversation, accept_summarization=True)
    run_job(job_id)
    assert result_of(job_id)["project_draft"]["description"] == DESCRIPTION
    assert told(events(clean_redis, job_id)) == ["summarizing", "generating"]
    assert said(events(clean_redis, job_id)) == DESCRIPTION, "the summary is no part of the draft"
    assert "A summary of roses." in small.requests[-1].messages[1].content
    with reading() as session:
        summary = summaries.find(session, conversation)
        assert summary is not None
        assert (summary.text, summary.model) == ("A summary of roses.", "scripted")
        assert summaries.parts(session, conversation)
    asked = len(small.requests)
    drafted(conversation)
    assert len(small.requests) == asked + 1, "a summary that speaks of the conversation as it is is used again"


def test_parts_survive_a_killed_worker(small: Scripted) -> None:
    conversation = talk(400)
    job_id = ask(conversation, accept_summarization=True)
    small.before = lambda number, place: kill() if number == 5 and place == 0 else None
    with pytest.raises(Killed):
        run_job(job_id)
    with reading() as session:
        kept = len(summaries.parts(session, conversation))
    assert kept == 4
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    result_of(job_id)
    texts = [request.messages[1].content for request in small.requests]
    assert len(texts) == len(set(texts)) + 1, "only what was being written when the worker died is written again"
