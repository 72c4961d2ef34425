"""A conversation becomes a draft: one version, from all of it."""

from __future__ import annotations

import pytest
from sqlmodel import select

from storage import conversations, drafts, prompts
from storage.account_tables import TokenUsage
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from tasks.base import run_job
from tests import factories
from tests.tasks.drafting import (
    DESCRIPTION,
    TITLE,
    ask,
    drafted,
    events,
    failed,
    model,
    result_of,
    said,
    talk,
    told,
    versions,
)
from tests.tasks.scripted_drafts import Scripted, scripted

__all__ = ["model"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


# --- a draft


def test_a_draft_is_streamed_and_kept_as_a_version(model: Scripted, clean_redis: str) -> None:
    conversation = talk()
    job_id = ask(conversation)
    run_job(job_id)
    (version,) = versions()
    assert (version.title, version.description, version.version_number) == (TITLE, DESCRIPTION, 1)
    assert (version.model, version.job_id, version.is_manual_edit) == ("scripted", job_id, False)
    assert version.created_by_user_id == LOCAL_OWNER
    result, found = result_of(job_id), events(clean_redis, job_id)
    assert result["project_draft"]["active_version_id"] == result["version_id"] == version.id
    assert (result["model"], result["finish_reason"], result["completion_tokens"]) == ("scripted", "stop", 5)
    assert said(found) == DESCRIPTION
    assert len([event for event in found if event["type"] == "content"]) > 3
    (update,) = [event for event in found if event["type"] == "project_updated"]
    assert update["project_draft"] == result["project_draft"]
    assert told(found) == ["generating"]


def test_the_model_reads_the_conversation_by_the_active_prompt(model: Scripted) -> None:
    with transaction() as session:
        prompts.write(session, "project_draft", "Write it in rhymes.", LOCAL_OWNER)
    drafted(talk(2))
    (request,) = model.requests
    system, user = request.messages
    assert system.content == "Write it in rhymes."
    assert "Title: Imported" in user.content
    assert "User: Message number 0 says" in user.content
    assert "Assistant: Message number 1 says" in user.content
    form = request.sampling.response_format
    assert form is not None
    assert (form["type"], form["schema"]["required"]) == ("json_schema", ["title", "description"])
    assert (request.owner, request.work_class, request.sampling.temperature) == (LOCAL_OWNER, "summarize", 0)


def test_a_second_one_is_a_second_version(model: Scripted) -> None:
    conversation = talk()
    drafted(conversation)
    result = drafted(conversation)
    assert [version.version_number for version in versions()] == [1, 2]
    assert result["project_draft"]["active_version"]["version_number"] == 2


def test_what_a_person_wrote_meanwhile_stays(model: Scripted) -> None:
    conversation = talk()
    job_id = ask(conversation)

    def edit(_number: int, place: int) -> None:
        if place == 0:
            with transaction() as session:
                row = conversations.get(session, conversation, LOCAL_OWNER, lock=True)
                drafts.add_version(session, row, "Mine", "My own.", by=LOCAL_OWNER, is_manual_edit=True)

    model.before = edit
    run_job(job_id)
    assert [version.title for version in versions()] == ["Mine", TITLE]
    assert result_of(job_id)["project_draft"]["title"] == "Mine"


def test_a_model_that_follows_no_schema_writes_a_title_and_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(monkeypatch, Scripted(100_000, "vision")) as model:
        model.answers = [f"# {TITLE}\n\n{DESCRIPTION}\n"]
        drafted(talk())
    (version,) = versions()
    assert (version.title, version.description) == (TITLE, DESCRIPTION)
    assert model.requests[0].sampling.response_format is None


@pytest.mark.parametrize(
    ("written", "title", "description"),
    [
        ('{"description": "First.", "title": "Then"}', "Then", "First."),
        ('{"title": " two\\nlines ", "description": "x", "more": 1}', "two lines", "x"),
        ('{"title": "", "description": "No title."}', "Imported", "No title."),
        ('{"title": "Cut", "description": "in the mid', "Cut", "in the mid"),
        ('{"title": "' + "x" * 400 + '", "description": "long"}', "x" * 300, "long"),
    ],
)
def test_what_models_write_instead(model: Scripted, written: str, title: str, description: str) -> None:
    model.answer = lambda _request: written
    drafted(talk())
    (version,) = versions()
    assert (version.title, version.description) == (title, description)


@pytest.mark.parametrize(
    "written", ["", "no JSON at all", '{"title": "Only"}', "[]", '{"title": "a", "description": ""}']
)
def test_who_writes_nothing_has_written_no_draft(model: Scripted, written: str) -> None:
    model.answer = lambda _request: written
    job_id = ask(talk())
    run_job(job_id)
    assert failed(job_id)["code"] == "provider_refused"
    assert versions() == []


def test_what_it_cost_is_counted(model: Scripted) -> None:
    drafted(talk())
    with reading() as session:
        (usage,) = session.exec(select(TokenUsage))
    assert (usage.answers, usage.prompt_tokens, usage.completion_tokens) == (1, 10, 5)


# --- what cannot be drafted


def test_a_conversation_without_messages(model: Scripted) -> None:
    job_id = ask(factories.conversation())
    run_job(job_id)
    assert failed(job_id)["code"] == "unprocessable"


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("what", ["removed", "locked"])
def test_a_conversation_that_is_gone_or_locked(model: Scripted, what: str, when: str) -> None:
    conversation = talk()
    job_id = ask(conversation)

    def end() -> None:
        with transaction() as session:
            row = conversations.get(session, conversation, LOCAL_OWNER, lock=True)
            if what == "removed":
                session.delete(row)
            else:
                row.is_locked = True
                session.add(row)

    if when == "before":
        end()
    else:
        model.before = lambda _number, place: end() if place == 0 else None
    run_job(job_id)
    assert failed(job_id)["code"] == "conflict"
    assert versions() == []


def test_somebody_elses_conversation(model: Scripted) -> None:
    job_id = ask(factories.conversation(factories.owner()))
    run_job(job_id)
    assert failed(job_id)["code"] == "conflict"
    assert model.requests == []
