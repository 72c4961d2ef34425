"""A conversation is summarised once, whatever happens to the worker, and cheaply once it has been before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
import redis

from config.errors import ModelUnavailable
from config.queues import Kind
from config.settings import reset_settings
from storage import conversations, prompts, summaries
from storage.database import reading, transaction
from storage.events import EventLog
from storage.tables import LOCAL_OWNER, Summary
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tasks.run import JobRun
from tests import factories
from tests.standins.metacognition_server import MetacognitionServer, metacognition_server
from tests.tasks.test_chats import Killed, kill
from tests.workers.summaries.scripted import Scripted, answer_to
from workers import registry
from workers.ports import LanguageModel

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted()

    @contextmanager
    def language_model(name: str | None, on_wait: object = None) -> Iterator[LanguageModel]:
        assert name in (None, "scripted/scripted", "scripted")
        with scripted.use() as model:
            yield model

    monkeypatch.setattr(registry, "language_model", language_model)
    return scripted


def talk(count: int = 600) -> str:
    """A conversation of so many messages of ten words."""
    said = [f"Message number {place} says some more words than that." for place in range(count)]
    with transaction() as session:
        return conversations.upsert(session, LOCAL_OWNER, *factories.imported(turns=said)).conversation_id


def say(conversation_id: str, count: int = 10) -> None:
    for place in range(count):
        factories.question(conversation_id, f"New message number {place} says something else again.")
    with transaction() as session:
        conversations.touch(session, conversation_id)


def ask(conversation_id: str, **given: Any) -> str:
    wanted = {"conversation_id": conversation_id, "model": None, "replace_edited": False, **given}
    return factories.job(
        Kind.SUMMARIZE, input=wanted, conversation_id=conversation_id, serial_key=f"summarize:{conversation_id}"
    )


def summarised(conversation_id: str, **given: Any) -> dict[str, Any]:
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
    assert (job.status, job.error is None) == ("failed", False)
    return job.error or {}


def stored(conversation_id: str) -> Summary:
    with reading() as session:
        row = summaries.find(session, conversation_id)
    assert row is not None
    return row


def parts(conversation_id: str) -> dict[str, str]:
    with reading() as session:
        return summaries.parts(session, conversation_id)


def edit(conversation_id: str, text: str) -> None:
    with transaction() as session:
        row = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        summaries.edit(session, row, text)


def events(url: str, job_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(event.json) for event in EventLog(redis.Redis.from_url(url)).read(job_id)]


def texts(found: list[dict[str, Any]], kind: str, key: str) -> list[str]:
    return [event[key] for event in found if event["type"] == kind]


# --- a summary


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


# --- stopped in the middle


@pytest.mark.parametrize("number", [1, 2, 7, 16])
def test_a_killed_worker_is_followed_by_one_that_goes_on_behind_its_parts(
    model: Scripted, clean_redis: str, number: int
) -> None:
    conversation = talk()
    job_id = ask(conversation)
    model.before = lambda at: kill() if at == number else None
    with pytest.raises(Killed):
        run_job(job_id)
    written = parts(conversation)
    assert len(written) == (number - 1) // 2 * 2
    model.requests.clear()
    model.before = lambda _: None
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    result = result_of(job_id)
    assert result["parts"]["reused"] >= len(written)
    assert len(model.requests) == result["parts"]["made"] + 1
    assert len(parts(conversation)) == sum(result["parts"].values())
    found = events(clean_redis, job_id)
    assert [event["sequence_number"] for event in found] == list(range(2, len(found) + 2))


@pytest.mark.parametrize("word", [0, 1, 2])
def test_a_text_begun_is_gone_on_with(model: Scripted, clean_redis: str, word: int) -> None:
    conversation = talk(4)
    job_id = ask(conversation)
    left = iter(range(word + 1))
    model.between = lambda: kill() if next(left) == word else None
    with pytest.raises(Killed):
        run_job(job_id)
    say(conversation)
    model.between = lambda: None
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert model.requests[1].resume_tokens == tuple(range(word))
    assert "".join(texts(events(clean_redis, job_id), "content", "content")) == stored(conversation).text
    assert stored(conversation).content_version == (1 if word else 2), "it speaks of what it was begun from"


def test_a_worker_that_stops_hands_it_over(model: Scripted, held: Leases) -> None:
    conversation = talk()
    job_id = ask(conversation)
    model.before = lambda at: held.stopping.set() if at == 5 else None
    run_job(job_id)
    assert (factories.load(job_id).status, factories.load(job_id).failures) == ("queued", 0)
    assert len(parts(conversation)) == 4
    held.stopping.clear()
    model.before = lambda _: None
    run_job(job_id)
    assert result_of(job_id)["parts"]["reused"] >= 4


def test_a_cancel_is_effective_before_the_next_token(model: Scripted, held: Leases) -> None:
    conversation = talk()
    job_id = ask(conversation)
    model.before = lambda at: held._cancel(job_id) if at == 5 else None
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert len(model.requests) <= 6
    assert len(parts(conversation)) == 4
    with reading() as session:
        assert summaries.find(session, conversation) is None


def test_an_emptied_redis_in_the_middle(model: Scripted, clean_redis: str) -> None:
    conversation = talk(4)
    job_id = ask(conversation)
    words = iter([None, lambda: redis.Redis.from_url(clean_redis).flushall()])
    model.between = lambda: (next(words, None) or (lambda: None))() and None
    run_job(job_id)
    found = events(clean_redis, job_id)
    assert found[0]["type"] == "reset"
    assert "".join(texts(found, "content", "content")) == stored(conversation).text


def test_an_overtaken_worker_writes_nothing(model: Scripted) -> None:
    conversation = talk(4)
    job_id = ask(conversation)

    def overtaken(number: int) -> None:
        if number == 1:
            bury_or_put_back(factories.load(job_id))
            model.says = lambda _request: "The second one's."
            run_job(job_id)

    model.before = overtaken
    run_job(job_id)
    assert factories.load(job_id).attempt == 2
    assert stored(conversation).text == "The second one's."


def test_a_model_that_is_not_there_yet_is_waited_for(model: Scripted) -> None:
    def away(_number: int) -> None:
        raise ModelUnavailable("The model is still loading.")

    job_id = ask(talk(4))
    model.before = away
    run_job(job_id)
    assert factories.load(job_id).status == "queued"
    model.before = lambda _: None
    factories.change(job_id, run_after=None)
    run_job(job_id)
    result_of(job_id)


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


# --- without a model, and elsewhere


def test_without_any_model_it_is_quoted_and_says_so() -> None:
    conversation = talk(6)
    result = summarised(conversation)
    assert result["model"] == stored(conversation).model == "extractive"
    assert result["summary"].startswith("No language model is loaded")
    assert "> User: Message number 0 says" in result["summary"]


def test_a_quoted_summary_leaves_the_parts_of_a_written_one(model: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = talk()
    summarised(conversation)
    written = parts(conversation)
    monkeypatch.undo()
    assert summarised_by_none(conversation) == "extractive"
    assert parts(conversation) == written


def summarised_by_none(conversation_id: str) -> str:
    return str(summarised(conversation_id)["model"])


@pytest.fixture
def service(settings: pytest.MonkeyPatch) -> Iterator[MetacognitionServer]:
    with metacognition_server() as running:
        settings.setenv("METACOGNITION_API_URL", running.url)
        settings.setenv("METACOGNITION_AUTH_TOKEN", "secret-token")
        settings.setenv("METACOGNITION_POLL_S", "0.01")
        reset_settings()
        yield running


def test_an_external_service_summarises_what_no_model_is_named_for(service: MetacognitionServer) -> None:
    conversation = talk(10)
    result = summarised(conversation)
    assert (result["summary"], result["model"]) == ("About 10 messages.", "metacognition")
    say(conversation, 3)
    assert summarised(conversation)["summary"] == "About 13 messages."
    assert [(call["summary_id"], call["index_of_first_new_message"]) for call in service.calls] == [
        (None, 0),
        ("summary-1", 10),
    ]
    assert summarised(conversation, model="extractive")["model"] == "extractive"
    assert len(service.calls) == 2


def test_a_later_attempt_asks_for_what_an_earlier_one_had_sent(
    service: MetacognitionServer, model: Scripted, held: Leases
) -> None:
    conversation = talk(10)
    job_id = ask(conversation)
    service.reads = 1
    service.before = lambda: held.stopping.set() if len(service.calls) == 3 else None
    run_job(job_id)
    held.stopping.clear()
    service.before, service.reads = lambda: None, 100
    run_job(job_id)
    assert result_of(job_id)["summary"] == "About 10 messages."
    assert [len(call["new_messages"]) for call in service.calls if call["new_messages"]] == [10]
    assert list(service.conversations) == ["summary-1"]


# --- asked for by other parts of the house
