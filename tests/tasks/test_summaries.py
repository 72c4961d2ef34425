"""A conversation is summarised once, and cheaply once it has been before; a person's own words stay."""

from __future__ import annotations

import pytest

from storage import conversations, prompts
from storage.database import transaction
from storage.tables import LOCAL_OWNER
from tasks.base import run_job
from tasks.run import JobRun
from tests import factories
from tests.tasks.summarising import (
    ask,
    edit,
    events,
    failed,
    model,
    parts,
    result_of,
    say,
    stored,
    summarised,
    talk,
    texts,
)
from tests.workers.summaries.scripted import Scripted, answer_to

__all__ = ["model"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def test_a_short_conversation_is_read_at_once(model: Scripted, clean_redis: str) -> None:
    conversation = talk(4)
    job_id = ask(conversation)
    run_job(job_id)
    result = result_of(job_id)
    row = stored(conversation)
    assert row.text == result["summary"] == answer_to(model.requests[0])
    assert (row.model, row.is_edited, row.content_version, row.place) == ("scripted", False, 1, None)
    assert factories.load(job_id).progress == {"done": 1, "total": 1, "unit": "parts"}
    assert (result["messages"], result["parts"], result["kept"]) == (4, {"made": 0, "reused": 0}, False)
    request = model.requests[0]
    assert (request.owner, request.job_id, request.work_class) == (LOCAL_OWNER, job_id, "summarize")
    found = events(clean_redis, job_id)
    assert [event["type"] for event in found] == ["started", "status", "progress", *["content"] * 3, "done"]
    assert "".join(texts(found, "content", "content")) == row.text


def test_a_long_one_is_told_as_it_grows(model: Scripted, clean_redis: str) -> None:
    conversation = talk(2000)
    job_id = ask(conversation)
    run_job(job_id)
    result, found = result_of(job_id), events(clean_redis, job_id)
    assert result["parts"]["made"] == len(parts(conversation)) == len(texts(found, "item", "text")) > 30
    assert sorted(texts(found, "item", "text")) == sorted(parts(conversation).values())
    progress = [event for event in found if event["type"] == "progress"]
    assert {event["unit"] for event in progress} == {"parts"}
    assert list(dict.fromkeys(event["phase"] for event in progress)) == ["map", "reduce", "final"]


def test_only_what_is_shown_is_read(model: Scripted) -> None:
    rows = [
        factories.imported_message("a", None, 0, "Shown question."),
        factories.imported_message("b", "a", 1, "Hidden thought.", visibility="reasoning"),
        factories.imported_message("c", "a", 2, "Other branch.", on_path=False),
        factories.imported_message("d", "a", 3, "Shown answer."),
    ]
    with transaction() as session:
        conversation = conversations.upsert(session, LOCAL_OWNER, factories.imported_conversation("x", rows), rows)
    result = summarised(conversation.conversation_id)
    assert result["messages"] == 2
    prompt = model.requests[0].messages[1].content
    assert "User: Shown question.\n\nAssistant: Shown answer." in prompt
    assert prompt.startswith("Title: Imported\nDates: 2025-01-01\n")


def test_ten_new_messages_in_thousands_cost_one_part_and_the_way_up(model: Scripted) -> None:
    conversation = talk(4000)
    first = summarised(conversation)
    assert first["parts"]["made"] > 100
    model.requests.clear()
    say(conversation)
    again = summarised(conversation)
    assert model.counts["part"] == 1
    assert model.counts.get("join", 0) <= 3
    assert model.counts["final"] == 1
    assert again["parts"]["made"] == len(model.requests) - 1
    assert stored(conversation).content_version == 2
    assert len(parts(conversation)) == sum(again["parts"].values()), "what is of no more use is forgotten"


def test_an_admins_own_prompt_is_used(model: Scripted) -> None:
    with transaction() as session:
        prompts.write(session, "summary", "In rhymes.", LOCAL_OWNER)
    summarised(talk(4))
    assert model.requests[0].messages[0].content == "In rhymes."


# --- people


def test_a_persons_summary_is_kept_and_the_new_one_proposed(model: Scripted) -> None:
    conversation = talk(4)
    edit(conversation, "My own words.")
    result = summarised(conversation)
    assert result["kept"] is True
    assert result["summary"] == answer_to(model.requests[0])
    assert (stored(conversation).text, stored(conversation).is_edited) == ("My own words.", True)
    result = summarised(conversation, replace_edited=True)
    assert result["kept"] is False
    assert (stored(conversation).text, stored(conversation).is_edited) == (result["summary"], False)


def test_an_edit_at_the_last_moment_is_kept_too(model: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = talk(4)
    job_id = ask(conversation)

    def flush(run: JobRun, wait_s: float) -> bool:
        """The last thing before the end's transaction."""
        patch.undo()
        edit(conversation, "My own words.")
        return run.flush(wait_s)

    with monkeypatch.context() as patch:
        patch.setattr(JobRun, "flush", flush)
        run_job(job_id)
    job = factories.load(job_id)
    assert (job.status, job.error and job.error["code"]) == ("queued", "unavailable")
    factories.change(job_id, run_after=None)
    run_job(job_id)
    assert result_of(job_id)["kept"] is True
    assert stored(conversation).text == "My own words."


# --- what cannot be summarised


def test_a_conversation_without_messages(model: Scripted) -> None:
    job_id = ask(factories.conversation())
    run_job(job_id)
    assert failed(job_id)["code"] == "unprocessable"


def test_a_conversation_deleted_before(model: Scripted) -> None:
    conversation = talk(4)
    job_id = ask(conversation)
    remove(conversation)
    assert factories.load(job_id).status == "cancelled"
    job_id = ask(conversation)  # by somebody who saw it a moment before
    run_job(job_id)
    assert failed(job_id)["code"] == "conflict"


@pytest.mark.parametrize("count", [4, 600])
def test_a_conversation_deleted_meanwhile(model: Scripted, count: int) -> None:
    conversation = talk(count)
    job_id = ask(conversation)
    model.before = lambda at: remove(conversation) if at == 1 else None
    run_job(job_id)
    assert failed(job_id)["code"] == "conflict"


def test_somebody_elses_conversation(model: Scripted) -> None:
    job_id = ask(factories.conversation(factories.owner()))
    run_job(job_id)
    assert failed(job_id)["code"] == "conflict"
    assert model.requests == []


def remove(conversation_id: str) -> None:
    with transaction() as session:
        conversations.remove(session, conversation_id, LOCAL_OWNER)
