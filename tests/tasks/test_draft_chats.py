"""A talk about a draft: what the model is told, and that what it says is kept."""

from __future__ import annotations

import pytest

from storage import prompts, summaries
from storage.database import transaction
from storage.project_tables import FileAttachment
from storage.tables import LOCAL_OWNER
from tasks.base import run_job
from tests import factories
from tests.tasks.draft_talks import ask, chat_of, drafted, model
from tests.tasks.drafting import events, result_of, said, talk, told
from tests.tasks.scripted_drafts import Scripted, scripted
from tests.tasks.test_projects import server

__all__ = ["drafted", "model", "server"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def test_an_answer_without_tools_is_streamed_and_kept(model: Scripted, drafted: str, clean_redis: str) -> None:
    model.answers = ["It is short already, I think."]
    job_id = ask(drafted)
    run_job(job_id)
    asked, answer = factories.all_messages(chat_of(drafted))
    assert (asked.content, answer.content, answer.parent_id) == ("Make it shorter.", model_said(), asked.id)
    assert (answer.model, answer.job_id, answer.parts) == ("scripted", job_id, {})
    found = events(clean_redis, job_id)
    assert said(found) == answer.content
    assert told(found) == ["analyzing_request", "generating_response"]
    result = result_of(job_id)
    assert (result["content"], result["chat_id"], result["conversation_id"]) == (
        answer.content,
        chat_of(drafted),
        drafted,
    )
    assert (result["conversation_locked"], result["project"], result["tool_calls"]) == (False, None, [])
    assert result["project_draft"]["title"] == "Roses"


def model_said() -> str:
    return "It is short already, I think."


def test_the_model_knows_the_draft_the_conversation_and_the_talk(model: Scripted, drafted: str) -> None:
    with transaction() as session:
        prompts.write(session, "project_draft_chat", "Talk in rhymes.", LOCAL_OWNER)
    model.answers = ["One.", "Two."]
    for text in ("First?", "Second?"):
        run_job(ask(drafted, text))
    system, *rest = model.requests[1].messages
    assert system.content.startswith("Talk in rhymes.\n\nThe draft as it is now:\n<draft>\n# Roses\n\nPlant them.")
    assert "User: Message number 0 says" in system.content
    assert [(one.role, one.content) for one in rest] == [("user", "First?"), ("assistant", "One."), ("user", "Second?")]
    assert [tool.name for tool in model.requests[1].tools] == ["update_project_draft"], "Linear is not set up"


def test_a_long_conversation_is_told_by_its_summary_or_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(monkeypatch, Scripted(900, "tools")) as model:
        model.answers = ["One.", "Two."]
        conversation = talk(300)
        run_job(ask(conversation))
        with transaction() as session:
            summaries.write(session, conversation, replace_edited=False, text="All about roses.", content_version=1,
                            place=None, model="x")  # fmt: skip
        run_job(ask(conversation))
    first, second = (request.messages[0].content for request in model.requests)
    assert "this is how it ended" in first
    assert "Message number 299" in first
    assert "Message number 0 " not in first
    assert "All about roses." in second


def test_files_that_come_with_it_are_read(model: Scripted, drafted: str) -> None:
    model.answers = ["Seen."]
    with transaction() as session:
        for name, text in (("notes.txt", "Forty roses. " * 3), ("new.pdf", None)):
            file = FileAttachment(
                id=name, owner_id=LOCAL_OWNER, conversation_id=drafted, filename=name, file_size=1,
                file_type="text/plain", digest="0" * 64, extracted_text=text,
            )  # fmt: skip
            session.add(file)
    run_job(ask(drafted, attachment_ids=["notes.txt", "new.pdf", "gone"]))
    question = model.requests[0].messages[-1].content
    assert question.startswith("Make it shorter.\n\n<file name='notes.txt'>\nForty roses.")
    assert "<file name='new.pdf'>\n(There is no text of it.)" in question


def test_without_a_model_it_quotes_and_says_so(drafted: str) -> None:
    job_id = ask(drafted, "Which message number is about roses?")
    run_job(job_id)
    assert result_of(job_id)["content"].startswith("No language model is loaded")
    assert "> Message number" in result_of(job_id)["content"]


def test_a_model_without_tools_is_offered_none(monkeypatch: pytest.MonkeyPatch, drafted: str) -> None:
    with scripted(monkeypatch, Scripted(100_000, "json_schema")) as model:
        model.answers = ["I cannot."]
        run_job(ask(drafted))
    assert model.requests[0].tools == ()
