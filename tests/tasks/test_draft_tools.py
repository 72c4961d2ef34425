"""A talk about a draft: the model changes it by tools, and has it made a project."""

from __future__ import annotations

import pytest

from tasks import draft_chats
from tasks.base import run_job
from tests import factories
from tests.standins.linear_server import LinearServer, refusal
from tests.tasks.draft_talks import ask, calls_of, chat_of, create, drafted, model, update
from tests.tasks.drafting import events, failed, result_of, said, told, versions
from tests.tasks.scripted_drafts import Scripted
from tests.tasks.test_projects import row, server
from workers.ports import ToolCall

__all__ = ["drafted", "model", "server"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def test_the_draft_is_changed_and_the_model_hears_of_it(model: Scripted, drafted: str, clean_redis: str) -> None:
    model.answers = [("I will make it shorter.", [update()]), "Done."]
    job_id = ask(drafted)
    run_job(job_id)
    _, version = versions()
    assert (version.title, version.description, version.version_number) == ("Fewer roses", "Plant ten.", 2)
    assert (version.model, version.job_id, version.is_manual_edit) == ("scripted", job_id, False)
    call, result = model.requests[1].messages[-2:]
    assert (call.role, call.content, call.tool_calls) == ("assistant", "I will make it shorter.", (update(),))
    assert (result.role, result.content, result.tool_call_id) == ("tool", "The draft was changed.", "c1")
    found = events(clean_redis, job_id)
    (event,) = [event for event in found if event["type"] == "project_updated"]
    assert event["project_draft"]["title"] == "Fewer roses"
    assert said(found) == "I will make it shorter.\n\nDone."
    assert told(found) == ["analyzing_request", "generating_response", "calling_tool", "generating_response"]
    answer = factories.all_messages(chat_of(drafted))[1]
    assert answer.content == "I will make it shorter.\n\nDone."
    (kept,) = answer.parts["tool_rounds"]
    assert kept["calls"] == calls_of(job_id)
    assert calls_of(job_id) == [
        {
            "id": "c1",
            "name": "update_project_draft",
            "arguments": {"title": "Fewer roses", "description": "Plant ten."},
            "result": "The draft was changed.",
            "failed": False,
        }
    ]
    assert (answer.prompt_tokens, answer.completion_tokens) == (20, 10)


def test_rounds_are_bounded(model: Scripted, drafted: str) -> None:
    """In the last one it has no tools to call; one that calls all the same is not asked again."""
    model.answers = [("", [update(f"Title {number}")]) for number in range(draft_chats.MAX_ROUNDS)] + ["Enough."]
    job_id = ask(drafted)
    run_job(job_id)
    assert [bool(request.tools) for request in model.requests] == [True] * draft_chats.MAX_ROUNDS + [False]
    assert len(versions()) == draft_chats.MAX_ROUNDS + 1
    assert result_of(job_id)["content"] == "Enough."


def test_a_model_that_calls_without_being_offered_ends(model: Scripted, drafted: str) -> None:
    model.answers = [("", [update(f"Title {number}")]) for number in range(20)]
    job_id = ask(drafted)
    run_job(job_id)
    result_of(job_id)
    assert len(model.requests) == draft_chats.MAX_ROUNDS + 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (ToolCall("c", "update_project_draft", {"_unparsed": "{title"}), "title: Field required"),
        (ToolCall("c", "update_project_draft", {"title": "x"}), "description: Field required"),
        (ToolCall("c", "update_project_draft", {"title": 7, "description": "x"}), "title: Input should be"),
        (ToolCall("c", "update_project_draft", {"title": " ", "description": "x"}), "title: String should have"),
        (ToolCall("c", "update_project_draft", {"title": "a", "description": "b", "c": 1}), "c: Extra inputs"),
        (ToolCall("c", "rm -rf", {}), "There is no tool 'rm -rf'."),
        (create("x" * 81), "title: String should have at most 80"),
        (create(), "Linear is not set up here"),
    ],
)
def test_what_cannot_be_done_is_told_to_the_model_and_the_person(
    model: Scripted, drafted: str, clean_redis: str, call: ToolCall, words: str
) -> None:
    model.answers = [("", [call]), "Sorry."]
    job_id = ask(drafted)
    run_job(job_id)
    (kept,) = calls_of(job_id)
    assert kept["failed"] is True
    assert words in kept["result"]
    assert model.requests[1].messages[-1].content == kept["result"]
    (event,) = [event for event in events(clean_redis, job_id) if event.get("status") == "tool_failed"]
    assert words in event["message"]
    assert len(versions()) == 1


def test_several_calls_of_one_round_are_done_in_order(model: Scripted, drafted: str) -> None:
    model.answers = [("", [update("A", call_id="1"), ToolCall("2", "other", {}), update("B", call_id="3")]), "Done."]
    job_id = ask(drafted)
    run_job(job_id)
    assert [call["failed"] for call in calls_of(job_id)] == [False, True, False]
    assert [version.title for version in versions()] == ["Roses", "A", "B"]


# --- Linear


def test_a_project_is_made_and_everything_locked(
    model: Scripted, drafted: str, server: LinearServer, clean_redis: str
) -> None:
    model.answers = [("", [create(), update()]), "It is in Linear."]
    job_id = ask(drafted)
    run_job(job_id)
    assert [tool.name for tool in model.requests[0].tools] == ["update_project_draft", "create_linear_project"]
    assert model.requests[1].tools == (), "there is nothing left to do"
    result = result_of(job_id)
    assert (result["conversation_locked"], result["project"]["linear_project_id"]) == (True, "p1")
    made, refused = result["tool_calls"]
    assert made["result"] == "The project was created: https://linear.app/x/project/p1"
    assert refused["result"] == "It failed: This conversation is locked."
    assert row(drafted).is_locked
    assert [event["type"] for event in events(clean_redis, job_id)].count("conversation_locked") == 1
    assert factories.shown(chat_of(drafted)) == ["Make it shorter.", "It is in Linear."]


def test_a_question_asked_before_the_lock_is_refused_behind_it(
    model: Scripted, drafted: str, server: LinearServer
) -> None:
    model.answers = [("", [create()]), "Done."]
    first, second = ask(drafted), ask(drafted)
    run_job(first)
    run_job(second)
    assert failed(second)["code"] == "conflict"


def test_linear_away_is_told_and_a_later_try_makes_one_project(
    model: Scripted, drafted: str, server: LinearServer
) -> None:
    model.answers = [("", [create()]), "Later.", ("", [create()]), "Done."]
    server.replies = [(503, b"", {})]
    job_id = ask(drafted)
    run_job(job_id)
    assert calls_of(job_id)[0]["result"] == "It failed: Linear answered 503."
    assert not row(drafted).is_locked
    run_job(ask(drafted))
    assert len(server.projects) == 1
    assert row(drafted).is_locked


def test_what_linear_says_reaches_the_model(model: Scripted, drafted: str, server: LinearServer) -> None:
    model.answers = [("", [create()]), "It refused."]
    server.replies = [refusal("Not today", "INVALID_INPUT")]
    job_id = ask(drafted)
    run_job(job_id)
    assert calls_of(job_id)[0]["result"] == "It failed: Linear refused: Not today."
