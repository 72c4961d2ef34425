"""A conversation becomes a draft: one version, whatever happens to the worker, from all of it or from its summary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import redis
from sqlmodel import col, select

from config.queues import Kind
from config.settings import reset_settings
from storage import conversations, drafts, prompts, summaries
from storage.account_tables import TokenUsage
from storage.database import reading, transaction
from storage.events import EventLog
from storage.project_tables import ProjectDraftVersion
from storage.tables import LOCAL_OWNER
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tasks.run import JobRun
from tests import factories
from tests.standins.mem0_server import Mem0Server, mem0_server
from tests.tasks.scripted_drafts import Scripted, scripted
from tests.tasks.test_chats import Killed, kill

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")
TITLE, DESCRIPTION = 'A "rose" garden', "# Goal\n\nPlant 40 roses – 🌹 –\tby May.\n\n- dig\n- water"
WRITTEN = orjson.dumps({"title": TITLE, "description": DESCRIPTION}).decode()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted(monkeypatch, Scripted()) as model:
        # Escapes may be spelled in two ways; the resumed text is ours, so the model goes on in our spelling.
        model.answer = lambda request: WRITTEN if not request.resume_text else _spelled_ours()
        yield model


def _spelled_ours() -> str:
    from workers.llm.json_strings import spelled

    return f'{{"title": "{spelled(TITLE)}", "description": "{spelled(DESCRIPTION)}"}}'


def talk(count: int = 6) -> str:
    said = [f"Message number {place} says some more words about roses." for place in range(count)]
    with transaction() as session:
        return conversations.upsert(session, LOCAL_OWNER, *factories.imported(turns=said)).conversation_id


def ask(conversation_id: str, **given: Any) -> str:
    wanted = {"conversation_id": conversation_id, "model": None, "accept_summarization": False, **given}
    key = drafts.serial_key(conversation_id)
    return factories.job(Kind.DRAFT, input=wanted, conversation_id=conversation_id, serial_key=key)


def drafted(conversation_id: str, **given: Any) -> dict[str, Any]:
    job_id = ask(conversation_id, **given)
    run_job(job_id)
    return result_of(job_id)


def result_of(job_id: str) -> dict[str, Any]:
    job = factories.load(job_id)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job.result


def failed(job_id: str) -> dict[str, Any]:
    job = factories.load(job_id)
    assert job.status == "failed"
    return job.error or {}


def versions() -> list[ProjectDraftVersion]:
    with reading() as session:
        return list(session.exec(select(ProjectDraftVersion).order_by(col(ProjectDraftVersion.version_number))))


def events(url: str, job_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(event.json) for event in EventLog(redis.Redis.from_url(url)).read(job_id)]


def said(found: list[dict[str, Any]]) -> str:
    return "".join(event["content"] for event in found if event["type"] == "content")


def told(found: list[dict[str, Any]]) -> list[str]:
    return [event["status"] for event in found if event["type"] == "status"]


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


# --- stopped in the middle


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


# --- too long


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


# --- without a model, and memories


def test_without_a_model_it_is_quoted_and_says_so(clean_redis: str) -> None:
    job_id = ask(talk())
    run_job(job_id)
    (version,) = versions()
    assert (version.title, version.model) == ("Imported", "extractive")
    assert version.description.startswith("No language model is loaded")
    assert "> User: Message number 0 says" in version.description
    assert said(events(clean_redis, job_id)) == version.description


@pytest.fixture
def service(settings: pytest.MonkeyPatch) -> Iterator[Mem0Server]:
    with mem0_server() as running:
        settings.setenv("MEM0_API_URL", running.url)
        settings.setenv("MEM0_USER_ID", "jo")
        reset_settings()
        yield running


def test_memories_are_asked_for_and_told_to_the_model(model: Scripted, service: Mem0Server, clean_redis: str) -> None:
    service.memories = [("Likes roses", 0.9), ("Has a cat", 0.37), ("Lives in Riga", 0.38)]
    job_id = ask(talk())
    run_job(job_id)
    result_of(job_id)
    (asked,) = service.asked
    assert (asked["user_id"], asked["metadata"]) == ("jo", {"type": "summary"})
    assert "roses" in asked["query"]
    prompt = model.requests[0].messages[1].content
    assert "- Likes roses\n- Lives in Riga" in prompt
    assert "cat" not in prompt
    assert told(events(clean_redis, job_id)) == ["extracting_chat_keywords", "retrieving_memories", "generating"]


@pytest.mark.parametrize("status", [500, 401, 200])
def test_a_memory_service_that_fails_takes_nothing_from_the_draft(
    model: Scripted, service: Mem0Server, clean_redis: str, status: int
) -> None:
    service.fails_with = (status, b"<html>")
    job_id = ask(talk())
    run_job(job_id)
    result_of(job_id)
    assert "memories_unavailable" in told(events(clean_redis, job_id))


def test_memories_are_the_same_for_every_attempt(model: Scripted, service: Mem0Server) -> None:
    service.memories = [("Likes roses", 0.9)]
    job_id = ask(talk())
    model.before = lambda number, place: kill() if number == 1 and place > 60 else None
    with pytest.raises(Killed):
        run_job(job_id)
    service.memories = []
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(service.asked) == 1
    assert model.requests[0].messages == model.requests[1].messages
