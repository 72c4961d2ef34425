"""A talk about a draft: the model changes it by tools, each effect once, and everything is kept with the message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config.queues import Kind
from storage import conversations, drafts, messages, prompts, summaries
from storage.database import reading, transaction
from storage.project_tables import FileAttachment
from storage.tables import LOCAL_OWNER
from tasks import draft_chats, draft_tools
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tasks.run import JobRun
from tests import factories
from tests.standins.linear_server import LinearServer, refusal
from tests.tasks.scripted_drafts import Scripted, scripted
from tests.tasks.test_chats import Killed, kill
from tests.tasks.test_drafts import events, failed, result_of, said, talk, told, versions
from tests.tasks.test_projects import row, server
from workers.ports import ToolCall

__all__ = ["server"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")
Json = dict[str, Any]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted(monkeypatch, Scripted()) as model:
        yield model


@pytest.fixture
def drafted() -> str:
    """A conversation with a draft."""
    conversation = talk(4)
    with transaction() as session:
        found = conversations.get(session, conversation, LOCAL_OWNER, lock=True)
        drafts.add_version(session, found, "Roses", "Plant them.", by=LOCAL_OWNER)
    return conversation


def ask(conversation_id: str, text: str = "Make it shorter.", **given: Any) -> str:
    with transaction() as session:
        conversation = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        question = messages.add_question(session, drafts.talk_of(session, conversation, LOCAL_OWNER), text)
    wanted = {"conversation_id": conversation_id, "message_id": question.id, "model": None, **given}
    key = drafts.serial_key(conversation_id)
    return factories.job(Kind.DRAFT_CHAT, input=wanted, conversation_id=conversation_id, serial_key=key)


def chat_of(conversation_id: str) -> str:
    with reading() as session:
        draft = drafts.find(session, conversation_id)
    assert draft is not None
    assert draft.chat_id is not None
    return draft.chat_id


def update(title: str = "Fewer roses", description: str = "Plant ten.", call_id: str = "c1") -> ToolCall:
    return ToolCall(call_id, "update_project_draft", {"title": title, "description": description})


def create(title: str = "Roses", call_id: str = "c2") -> ToolCall:
    return ToolCall(call_id, "create_linear_project", {"title": title, "description": "Plant them."})


def calls_of(job_id: str) -> list[Json]:
    calls: list[Json] = result_of(job_id)["tool_calls"]
    return calls


# --- talking


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


# --- tools


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


# --- stopped in the middle


@pytest.mark.parametrize("request_number", [1, 2])
@pytest.mark.parametrize("place", [0, 7, 14])
def test_a_killed_worker_is_followed_by_one_that_goes_on(
    model: Scripted, drafted: str, clean_redis: str, request_number: int, place: int
) -> None:
    model.answers = [("I will do it now.", [update()]), "It is done, look."]
    job_id = ask(drafted)
    model.before = lambda number, at: kill() if (number, at) == (request_number, place) else None
    with pytest.raises(Killed):
        run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    found = events(clean_redis, job_id)
    assert said(found) == result_of(job_id)["content"] == "I will do it now.\n\nIt is done, look."
    assert len(versions()) == 2
    assert [event["type"] for event in found].count("project_updated") == 1
    assert [event["sequence_number"] for event in found] == list(range(2, len(found) + 2))
    assert len(factories.shown(chat_of(drafted))) == 2


@pytest.mark.parametrize("where", ["before the effect", "in the effect", "behind the effect", "at the end"])
def test_an_effect_is_had_once_wherever_the_worker_dies(
    model: Scripted, drafted: str, clean_redis: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    model.answers = [("", [update()]), "Done.", "Done."]
    job_id = ask(drafted)
    with monkeypatch.context() as patch:
        if where == "before the effect":
            patch.setattr(draft_tools.Toolbox, "call", lambda *_: kill())
        elif where == "in the effect":
            patch.setattr(drafts, "add_version", lambda *_, **__: kill())
        elif where == "behind the effect":
            patch.setattr(draft_tools.Toolbox, "tell", lambda *_: kill())
        else:
            patch.setattr(JobRun, "end", lambda *_, **__: kill())
        with pytest.raises(Killed):
            run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert [version.title for version in versions()] == ["Roses", "Fewer roses"]
    assert len(calls_of(job_id)) == 1
    assert [event["type"] for event in events(clean_redis, job_id)].count("project_updated") == 1
    assert len(model.requests[0].tools) == 1
    assert [len(request.messages) for request in model.requests[1:]] == [4] * (len(model.requests) - 1)


@pytest.mark.parametrize("where", ["add", "tell_lock"])
def test_a_project_is_made_once_wherever_the_worker_dies(
    model: Scripted, drafted: str, server: LinearServer, clean_redis: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from storage import projects

    model.answers = [("", [create()]), "Done."]
    job_id = ask(drafted)
    with monkeypatch.context() as patch:
        patch.setattr(projects if where == "add" else draft_tools, where, lambda *_: kill())
        with pytest.raises(Killed):
            run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(server.projects) == 1
    assert result_of(job_id)["project"]["linear_project_id"] == "p1"
    assert [event["type"] for event in events(clean_redis, job_id)].count("conversation_locked") == 1


def test_an_emptied_redis_and_a_dead_worker(model: Scripted, drafted: str, clean_redis: str) -> None:
    import redis

    model.answers = [("I will do it now.", [update()]), "It is done, look."]
    job_id = ask(drafted)
    model.before = lambda number, at: kill() if (number, at) == (2, 7) else None
    with pytest.raises(Killed):
        run_job(job_id)
    redis.Redis.from_url(clean_redis).flushall()
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    found = events(clean_redis, job_id)
    assert said(found) == result_of(job_id)["content"] == "I will do it now.\n\nIt is done, look."
    assert len(versions()) == 2


def test_a_cancel_stops_before_the_next_tool(model: Scripted, drafted: str, held: Leases) -> None:
    model.answers = [("I will.", [update()])]
    job_id = ask(drafted)
    model.before = lambda _number, place: held._cancel(job_id) if place == len("I will.") else None
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert len(versions()) == 1


@pytest.mark.parametrize("what", ["question", "conversation"])
def test_what_was_deleted_is_not_answered(model: Scripted, drafted: str, what: str) -> None:
    job_id = ask(drafted)
    with transaction() as session:
        if what == "question":
            messages.clear(session, chat_of(drafted))
        else:
            session.delete(conversations.get(session, drafted, LOCAL_OWNER))
    run_job(job_id)
    assert failed(job_id)["code"] == "conflict"
    assert model.requests == []
