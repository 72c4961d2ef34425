"""A question is answered once, from its history and its sources, whatever happens to the worker in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import orjson
import pytest
import redis

from config.errors import ModelUnavailable, Unavailable
from config.queues import Kind
from storage import messages
from storage.database import transaction
from storage.events import EventLog
from storage.tables import Job, Message
from tasks import chats
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tasks.search import Retrieval
from tests import factories
from workers import registry
from workers.ports import ChatRequest, Completion, Delta, Passage

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")
WORDS = ["The", "answer", "is", "forty", "two", ",", "as", "everybody", "knows"]
TEXT = " ".join(WORDS) + " "


class Scripted:
    """A model that says WORDS, one token each, and goes on where it is told."""

    name = provider = "scripted"
    context_tokens = 400

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.before: dict[int, Callable[[], None]] = {}  # word → what happens before it, once

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        self.requests.append(request)
        start = len(request.resume_tokens)
        for at in range(start, len(WORDS)):
            if at in self.before:
                self.before.pop(at)()
            if cancelled():
                yield Completion("cancelled", 10, at)
                return
            yield Delta(f"{WORDS[at]} ", (at,))
        yield Completion("stop", 10, len(WORDS))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted()
    monkeypatch.setattr(registry, "language_model", lambda _name, _on_wait: nullcontext(scripted))
    return scripted


def ask(text: str = "What is the answer?", conversation_id: str | None = None, **options: Any) -> tuple[str, Message]:
    conversation_id = conversation_id or factories.conversation()
    question = factories.question(conversation_id, text)
    given = {"message_id": question.id, "use_rag": False, **options}
    serial = f"chat:{conversation_id}"
    return factories.job(Kind.CHAT, input=given, conversation_id=conversation_id, serial_key=serial), question


def answered(job_id: str) -> Job:
    job = factories.load(job_id)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job


def events(url: str, job_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(event.json) for event in EventLog(redis.Redis.from_url(url)).read(job_id)]


def said(found: list[dict[str, Any]]) -> str:
    return "".join(event["content"] for event in found if event["type"] == "content")


class Killed(BaseException):
    """kill -9 as far as the job is concerned."""


def kill() -> None:
    raise Killed


# --- an answer


def test_an_answer_is_streamed_and_stored(model: Scripted, clean_redis: str) -> None:
    job_id, question = ask()
    run_job(job_id)
    job = answered(job_id)
    asked, answer = factories.all_messages(question.conversation_id)
    assert (asked.content, answer.content, answer.parent_id) == ("What is the answer?", TEXT, question.id)
    assert (answer.model, answer.prompt_tokens, answer.completion_tokens) == ("scripted", 10, len(WORDS))
    assert (answer.job_id, answer.sources) == (job_id, None)
    assert answer.response_ms is not None
    assert job.result == {
        "message_id": answer.id,
        "session_id": question.conversation_id,
        "content": TEXT,
        "model": "scripted",
        "finish_reason": "stop",
        "prompt_tokens": 10,
        "completion_tokens": len(WORDS),
        "response_ms": answer.response_ms,
        "sources": None,
    }
    found = events(clean_redis, job_id)
    assert [event["type"] for event in found] == ["started", "status", *["content"] * len(WORDS), "done"]
    assert said(found) == TEXT
    assert job.first_output_at is not None


def test_the_conversation_is_embedded_afterwards(model: Scripted) -> None:
    job_id, question = ask()
    run_job(job_id)
    (conversation,) = factories.all_conversations()
    assert (conversation.id, conversation.content_version) == (question.conversation_id, 2)
    assert len(factories.all_jobs(Kind.EMBED)) == 1


def test_the_model_is_given_the_history_and_what_was_asked_for(model: Scripted) -> None:
    first, question = ask("First?")
    run_job(first)
    second, _ = ask(
        "Second?", question.conversation_id, system="Be brief.", temperature=0, seed=7, stop=["END"], max_tokens=5
    )
    run_job(second)
    request = model.requests[1]
    assert [(message.role, message.content) for message in request.messages] == [
        ("system", "Be brief."),
        ("user", "First?"),
        ("assistant", TEXT),
        ("user", "Second?"),
    ]
    sampling = request.sampling
    assert (sampling.temperature, sampling.seed, sampling.stop, sampling.max_tokens) == (0, 7, ("END",), 5)


def test_history_that_does_not_fit_is_shortened_and_told(model: Scripted, clean_redis: str) -> None:
    conversation_id = factories.conversation()
    for number in range(20):
        factories.question(conversation_id, f"{number} " * 50)
    job_id, _ = ask("Last?", conversation_id)
    run_job(job_id)
    told = [event for event in events(clean_redis, job_id) if event.get("status") == "history_shortened"]
    assert len(told) == 1
    assert told[0]["dropped_messages"] == 21 - len(model.requests[0].messages)
    assert model.requests[0].messages[-1].content == "Last?"


def test_questions_of_one_conversation_are_answered_in_order(model: Scripted) -> None:
    first, question = ask("First?")
    second, _ = ask("Second?", question.conversation_id)
    run_job(second)
    assert factories.load(second).status == "queued"
    run_job(first)
    run_job(second)
    assert factories.shown(question.conversation_id) == ["First?", TEXT, "Second?", TEXT]


# --- sources

PASSAGE = Passage("It is forty two.", "c1", "An old talk", "m1", 0.87654)


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[Retrieval]:
    """Questions that came to the index worker; it answers with PASSAGE."""
    asked: list[Retrieval] = []

    def retrieve(question: Retrieval, _timeout_s: float) -> list[Passage]:
        asked.append(question)
        return [PASSAGE]

    monkeypatch.setattr(chats, "retrieve", retrieve)
    return asked


def test_sources_are_given_and_named(model: Scripted, sources: list[Retrieval]) -> None:
    job_id, question = ask(use_rag=True)
    run_job(job_id)
    assert model.requests[0].passages == (PASSAGE,)
    assert (sources[0].text, sources[0].not_in) == (question.content, question.conversation_id)
    answer = factories.all_messages(question.conversation_id)[1]
    named = {"conversation_id": "c1", "title": "An old talk", "message_id": "m1", "text": "It is forty two."}
    assert answer.sources == [{**named, "score": 0.8765}]
    result = answered(job_id).result
    assert result is not None
    assert result["sources"] == answer.sources


def test_every_attempt_answers_from_the_same_sources(model: Scripted, sources: list[Retrieval]) -> None:
    job_id, _ = ask(use_rag=True)
    model.before[3] = kill
    with pytest.raises(Killed):
        run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(sources) == 1
    assert [request.passages for request in model.requests] == [(PASSAGE,), (PASSAGE,)]


def test_without_the_index_it_answers_and_says_so(
    model: Scripted, monkeypatch: pytest.MonkeyPatch, clean_redis: str
) -> None:
    def away(*_: object) -> list[Passage]:
        raise Unavailable("No search worker answered.")

    monkeypatch.setattr(chats, "retrieve", away)
    job_id, _ = ask(use_rag=True)
    run_job(job_id)
    assert answered(job_id).result is not None
    assert "retrieval_unavailable" in [event.get("status") for event in events(clean_redis, job_id)]


# --- stopped in the middle


@pytest.mark.parametrize("at", [0, 1, 5, len(WORDS) - 1])
def test_a_killed_worker_is_followed_by_one_that_goes_on(model: Scripted, clean_redis: str, at: int) -> None:
    job_id, question = ask()
    model.before[at] = kill
    with pytest.raises(Killed):
        run_job(job_id)
    assert factories.shown(question.conversation_id) == [question.content]
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert model.requests[1].resume_tokens == tuple(range(at))
    assert model.requests[1].resume_text == "".join(f"{word} " for word in WORDS[:at])
    assert factories.shown(question.conversation_id) == [question.content, TEXT]
    found = events(clean_redis, job_id)
    assert said(found) == TEXT
    assert [event["sequence_number"] for event in found] == list(range(2, len(found) + 2))


def test_a_worker_that_stops_hands_the_answer_over(model: Scripted, held: Leases, clean_redis: str) -> None:
    job_id, question = ask()
    model.before[4] = held.stopping.set
    run_job(job_id)
    assert (factories.load(job_id).status, factories.load(job_id).failures) == ("queued", 0)
    held.stopping.clear()
    run_job(job_id)
    assert said(events(clean_redis, job_id)) == TEXT
    assert factories.shown(question.conversation_id) == [question.content, TEXT]


def test_a_cancel_is_effective_before_the_next_token(model: Scripted, held: Leases, clean_redis: str) -> None:
    job_id, question = ask()
    model.before[2] = lambda: held._cancel(job_id)
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    found = events(clean_redis, job_id)
    assert said(found) == "The answer "
    assert found[-1]["type"] == "cancelled"
    assert factories.shown(question.conversation_id) == [question.content]


def test_an_emptied_redis_in_the_middle(model: Scripted, clean_redis: str) -> None:
    job_id, question = ask()
    model.before[4] = lambda: redis.Redis.from_url(clean_redis).flushall() and None
    run_job(job_id)
    found = events(clean_redis, job_id)
    assert [event["type"] for event in found[:2]] == ["reset", "content"]
    assert said(found) == TEXT
    assert factories.shown(question.conversation_id) == [question.content, TEXT]


def test_an_overtaken_worker_writes_no_second_answer(model: Scripted, clean_redis: str) -> None:
    job_id, question = ask()

    def overtaken() -> None:
        bury_or_put_back(factories.load(job_id))
        run_job(job_id)

    model.before[4] = overtaken
    run_job(job_id)
    assert factories.load(job_id).attempt == 2
    assert factories.shown(question.conversation_id) == [question.content, TEXT]
    assert said(events(clean_redis, job_id)) == TEXT


# --- what cannot be answered


def test_a_question_deleted_before_it_is_answered(model: Scripted) -> None:
    job_id, question = ask()
    with transaction() as session:
        messages.clear(session, question.conversation_id)
    run_job(job_id)
    job = factories.load(job_id)
    assert (job.status, job.error and job.error["code"]) == ("failed", "conflict")


def test_a_question_deleted_while_it_is_answered(model: Scripted) -> None:
    job_id, question = ask()

    def clear() -> None:
        with transaction() as session:
            messages.clear(session, question.conversation_id)

    model.before[4] = clear
    run_job(job_id)
    job = factories.load(job_id)
    assert (job.status, job.error and job.error["code"]) == ("failed", "conflict")
    assert factories.shown(question.conversation_id) == []


def test_a_model_that_is_not_there_yet_is_waited_for(model: Scripted) -> None:
    def away() -> None:
        raise ModelUnavailable("The model is still loading.")

    job_id, _ = ask()
    model.before[0] = away
    run_job(job_id)
    assert factories.load(job_id).status == "queued"
    factories.change(job_id, run_after=None)
    run_job(job_id)
    answered(job_id)


def test_an_unknown_model_is_told(settings: pytest.MonkeyPatch) -> None:
    job_id, _ = ask(model="nobody")
    run_job(job_id)
    job = factories.load(job_id)
    assert job.error is not None
    assert (job.status, job.error["code"]) == ("failed", "unprocessable")
    assert "extractive" in job.error["message"]


def test_without_any_model_the_passages_are_quoted(sources: list[Retrieval]) -> None:
    job_id, question = ask("What is forty two?", use_rag=True)
    run_job(job_id)
    result = answered(job_id).result
    assert result is not None
    assert result["model"] == "extractive"
    assert "No language model is loaded" in result["content"]
    assert "It is forty two." in result["content"]
    assert factories.shown(question.conversation_id)[1] == result["content"]
