"""Answers of a real model, through its job: what is told about tokens, deadlines, and a context that is too small."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from config.errors import ModelUnavailable
from config.queues import Kind
from config.settings import reset_settings
from storage.events import EventLog
from storage.tables import Job
from tasks.base import bury_or_put_back, run_job
from tasks.run import JobRun
from tests import factories
from tests.gguf_model import make_tiny_model
from workers import registry
from workers.llm.local import LocalModel
from workers.ports import ChatMessage, ChatRequest, Completion, Delta, Sampling

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")
CONTEXT = 512
TURN = "what is the time of the day and the water in the house "


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf", endless=True)


@pytest.fixture(scope="module")
def small(path: Path) -> Iterator[LocalModel]:
    model = LocalModel(path, n_ctx=CONTEXT, n_threads=1)
    yield model
    model.close()


OnWait = Callable[[str, float | None], None]


@pytest.fixture
def model(small: LocalModel, monkeypatch: pytest.MonkeyPatch) -> LocalModel:
    """The model that jobs get."""

    @contextmanager
    def language_model(_name: str | None, _on_wait: OnWait) -> Iterator[LocalModel]:
        yield small

    monkeypatch.setattr(registry, "language_model", language_model)
    return small


def ask(text: str = "Hello", turns: int = 0, *, priority: int = 5, **options: Any) -> str:
    """A question after so many messages of others."""
    conversation_id = factories.conversation()
    for _ in range(turns):
        factories.question(conversation_id, TURN)
    question = factories.question(conversation_id, text)
    given = {"message_id": question.id, "use_rag": False, "temperature": 0, **options}
    return factories.job(Kind.CHAT, input=given, conversation_id=conversation_id, priority=priority)


def done(job_id: str) -> dict[str, Any]:
    job = factories.load(job_id)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job.result


def failed(job_id: str) -> dict[str, Any]:
    job: Job = factories.load(job_id)
    assert job.status == "failed"
    assert job.error is not None
    return job.error


def events(url: str, job_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(event.json) for event in EventLog(redis.Redis.from_url(url)).read(job_id)]


def content(found: list[dict[str, Any]]) -> str:
    return "".join(event["content"] for event in found if event["type"] == "content")


def told(found: list[dict[str, Any]], status: str) -> list[dict[str, Any]]:
    return [event for event in found if event.get("status") == status]


class Killed(BaseException):
    """kill -9 as far as the job is concerned."""


# --- a context that is too small


def test_an_answer_goes_on_past_the_end_of_the_context(model: LocalModel, clean_redis: str) -> None:
    """Its history makes room for it, again and again; what it says joins without a seam."""
    job_id = ask(turns=14, max_tokens=470)
    run_job(job_id)
    result, found = done(job_id), events(clean_redis, job_id)
    dropped = [event["dropped_messages"] for event in told(found, "context_shifted")]
    assert len(dropped) >= 2
    assert dropped == sorted(dropped, reverse=True)
    assert (result["finish_reason"], result["completion_tokens"]) == ("length", 470)
    assert content(found) == result["content"]
    tokens = [
        token for event in EventLog(redis.Redis.from_url(clean_redis)).read(job_id) for token in event.resume.split()
    ]
    assert b"".join(model._model.piece(int(token)) for token in tokens).decode("utf-8", "replace") == result["content"]
    assert len(tokens) == 470
    assert told(found, "history_shortened")[0]["dropped_messages"] + sum(dropped) <= 14


def test_each_part_is_what_the_model_says_to_what_is_left(model: LocalModel, clean_redis: str) -> None:
    job_id = ask(turns=10, max_tokens=400)
    run_job(job_id)
    found = events(clean_redis, job_id)
    (cut,) = [place for place, event in enumerate(found) if event.get("status") == "context_shifted"][-1:]
    before = content(found[:cut])
    kept = 10 - sum(event.get("dropped_messages", 0) for event in found)
    messages = (*(ChatMessage("user", TURN) for _ in range(kept)), ChatMessage("user", "Hello"))
    request = ChatRequest(messages, sampling=Sampling(temperature=0, max_tokens=400), resume_text=before)
    rest = "".join(item.text for item in model.stream(request, lambda: False) if isinstance(item, Delta))
    assert content(found[cut:]).startswith(rest[:20])


def test_with_nothing_left_to_drop_it_ends(model: LocalModel, clean_redis: str) -> None:
    job_id = ask(turns=3, max_tokens=1000)
    run_job(job_id)
    result, found = done(job_id), events(clean_redis, job_id)
    assert result["finish_reason"] == "length"
    assert result["prompt_tokens"] + result["completion_tokens"] >= CONTEXT - 3
    assert sum(event["dropped_messages"] for event in told(found, "context_shifted")) == 3
    assert content(found) == result["content"]


class TextOnly:
    """A model elsewhere: it tells no tokens, and goes on after text. It counts up until the context is full."""

    name = "text only"
    provider = "elsewhere"
    abilities: frozenset[str] = frozenset()

    def __init__(self, context_tokens: int, own_limit: int = 10_000) -> None:
        self.context_tokens, self.own_limit = context_tokens, own_limit

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        asked = sum(self.count_tokens(message.content) for message in request.messages)
        room = min(self.context_tokens - asked, request.sampling.max_tokens, self.own_limit)
        for number in range(self.count_tokens(request.resume_text), room):
            yield Delta(f"{number} ")
        yield Completion("length", asked, max(room, 0))


def test_a_model_that_tells_no_tokens_goes_on_after_its_text(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch, clean_redis: str
) -> None:
    monkeypatch.setattr(registry, "language_model", lambda _name, _on_wait: nullcontext(TextOnly(400)))
    job_id = ask(turns=20, max_tokens=350)
    run_job(job_id)
    assert done(job_id)["content"].split() == [str(number) for number in range(350)]
    assert told(events(clean_redis, job_id), "context_shifted")


def test_a_provider_that_stops_early_is_no_full_context(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch, clean_redis: str
) -> None:
    monkeypatch.setattr(registry, "language_model", lambda _name, _on_wait: nullcontext(TextOnly(4000, own_limit=50)))
    job_id = ask(turns=20, max_tokens=350)
    run_job(job_id)
    assert (done(job_id)["finish_reason"], done(job_id)["completion_tokens"]) == ("length", 50)
    assert told(events(clean_redis, job_id), "context_shifted") == []


def test_an_answer_that_is_long_enough_drops_nothing(model: LocalModel, clean_redis: str) -> None:
    job_id = ask(turns=3, max_tokens=50)
    run_job(job_id)
    assert done(job_id)["completion_tokens"] == 50
    assert told(events(clean_redis, job_id), "context_shifted") == []


def test_a_killed_worker_is_followed_past_the_shift(
    model: LocalModel, clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENABLE_CACHE", "false")  # or the second would be answered with the first
    reset_settings()
    undisturbed = ask(turns=14, max_tokens=400)
    run_job(undisturbed)
    write, pieces = JobRun.content, iter(range(10_000))

    def die_once(run: JobRun, *piece: Any) -> None:
        if next(pieces) == 300:
            raise Killed
        write(run, *piece)

    monkeypatch.setattr(JobRun, "content", die_once)
    job_id = ask(turns=14, max_tokens=400)
    with pytest.raises(Killed):
        run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert done(job_id)["content"] == done(undisturbed)["content"]
    assert content(events(clean_redis, job_id)) == done(job_id)["content"]


def test_one_message_that_is_too_long_is_refused_with_both_numbers(model: LocalModel, clean_redis: str) -> None:
    job_id = ask(TURN * 60, turns=2)
    run_job(job_id)
    error = failed(job_id)
    assert (error["code"], error["retryable"]) == ("prompt_too_long", False)
    assert f"{CONTEXT}" in error["message"]
    assert len([word for word in error["message"].split() if word.isdecimal()]) == 2
    assert content(events(clean_redis, job_id)) == ""


# --- what is told about tokens


def test_log_probabilities_are_told_with_each_piece_and_with_the_result(model: LocalModel, clean_redis: str) -> None:
    plain, job_id = ask(max_tokens=60), ask(max_tokens=60, logprobs=2)
    for one in (plain, job_id):
        run_job(one)
    found = events(clean_redis, job_id)
    pieces = [event for event in found if event["type"] == "content"]
    assert [one for event in pieces for one in event["logprobs"]] == done(job_id)["logprobs"]
    assert len(done(job_id)["logprobs"]) == 60
    said = b""
    for one in done(job_id)["logprobs"]:
        assert (one["top"][0]["id"], one["top"][0]["logprob"]) == (one["id"], one["logprob"])
        assert len(one["top"]) == 2
        assert one["logprob"] <= 0
        assert bytes(one["bytes"]) == model._model.piece(one["id"]) if "bytes" in one else "\ufffd" not in one["token"]
        said += bytes(one["bytes"]) if "bytes" in one else one["token"].encode()
    assert said.decode("utf-8", "replace") == done(job_id)["content"] == done(plain)["content"]
    assert "logprobs" not in done(plain)
    assert not any("logprobs" in event for event in events(clean_redis, plain))


def test_log_probabilities_survive_a_killed_worker_and_an_emptied_redis(
    model: LocalModel, clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = ask(max_tokens=60, logprobs=1)
    run_job(undisturbed)
    write, pieces = JobRun.content, iter(range(10_000))

    def disturb(run: JobRun, *piece: Any) -> None:
        match next(pieces):
            case 15:
                raise Killed
            case 30:
                redis.Redis.from_url(clean_redis).flushall()
        write(run, *piece)

    monkeypatch.setattr(JobRun, "content", disturb)
    job_id = ask(max_tokens=60, logprobs=1)
    with pytest.raises(Killed):
        run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert [one["id"] for one in done(job_id)["logprobs"]] == [one["id"] for one in done(undisturbed)["logprobs"]]
    found = events(clean_redis, job_id)
    assert found[0]["type"] == "reset"
    assert [one for event in found for one in event.get("logprobs", ())] == done(job_id)["logprobs"]


def test_biases_and_penalties_reach_the_model(model: LocalModel) -> None:
    plain = ask(max_tokens=5, logprobs=0)
    run_job(plain)
    first = done(plain)["logprobs"][0]["id"]
    job_id = ask(max_tokens=5, logprobs=0, logit_bias={str(first): -100}, presence_penalty=2)
    run_job(job_id)
    assert first not in [one["id"] for one in done(job_id)["logprobs"]]
    assert done(job_id)["logprobs"][0]["top"] == []


def test_any_json_object(model: LocalModel) -> None:
    job_id = ask(response_format={"type": "json_object"}, max_tokens=300, temperature=1.0, seed=5)
    run_job(job_id)
    result = done(job_id)
    assert result["content"].strip().startswith("{")
    if result["finish_reason"] == "stop":
        assert isinstance(orjson.loads(result["content"]), dict)


# --- classes and deadlines


@pytest.mark.parametrize(("priority", "expected"), [(0, "batch"), (1, "batch"), (2, "chat"), (5, "chat"), (9, "chat")])
def test_whenever_means_after_all_others(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch, priority: int, expected: str
) -> None:
    requests: list[ChatRequest] = []
    stream = model.stream

    def keep(request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Any]:
        requests.append(request)
        return stream(request, cancelled)

    monkeypatch.setattr(model, "stream", keep)
    job_id = ask(max_tokens=2, priority=priority)
    run_job(job_id)
    assert (requests[0].work_class, requests[0].job_id) == (expected, job_id)


def test_a_deadline_that_passed_before_the_start_fails_at_once(model: LocalModel, clean_redis: str) -> None:
    job_id = ask(deadline_s=5)
    factories.change(job_id, created_at=factories.ago(6))
    run_job(job_id)
    assert failed(job_id) == {
        "code": "deadline_exceeded",
        "message": "The answer was not complete at its deadline.",
        "retryable": False,
    }
    assert [event["type"] for event in events(clean_redis, job_id)] == ["started", "error"]


def test_a_deadline_in_the_middle_leaves_what_was_said(
    model: LocalModel, clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, pieces = JobRun.content, iter(range(10_000))

    def let_time_pass(run: JobRun, *piece: Any) -> None:
        if next(pieces) == 10:
            monkeypatch.setattr(model.engine, "_clock", lambda: time.monotonic() + 2000)
        write(run, *piece)

    monkeypatch.setattr(JobRun, "content", let_time_pass)
    job_id = ask(turns=3, max_tokens=450, deadline_s=1000)
    run_job(job_id)
    assert failed(job_id)["code"] == "deadline_exceeded"
    found = events(clean_redis, job_id)
    assert found[-1]["type"] == "error"
    assert len(content(found)) > 10


def test_a_deadline_far_off_changes_nothing(model: LocalModel) -> None:
    job_id = ask(max_tokens=5, deadline_s=1000)
    run_job(job_id)
    assert done(job_id)["completion_tokens"] == 5


# --- waiting for the model


def waits(monkeypatch: pytest.MonkeyPatch, small: LocalModel, *reasons: tuple[str, float | None]) -> None:
    @contextmanager
    def language_model(_name: str | None, on_wait: OnWait) -> Iterator[LocalModel]:
        for reason, progress in reasons:
            on_wait(reason, progress)
        yield small

    monkeypatch.setattr(registry, "language_model", language_model)


def test_listeners_hear_why_it_waits_a_tenth_at_a_time(
    small: LocalModel, monkeypatch: pytest.MonkeyPatch, clean_redis: str
) -> None:
    loading = [("loading_model", progress / 100) for progress in range(101)]
    waits(monkeypatch, small, ("switching_model", None), ("switching_model", None), ("loading_model", None), *loading)
    job_id = ask(max_tokens=2)
    run_job(job_id)
    found = events(clean_redis, job_id)
    assert told(found, "switching_model") == [event for event in found if event.get("status") == "switching_model"][:1]
    assert [event.get("progress") for event in told(found, "loading_model")] == [None, *(n / 10 for n in range(11))]


def test_a_cancel_and_a_deadline_end_the_wait(small: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    late, gone = ask(deadline_s=0.05), ask()

    @contextmanager
    def never(_name: str | None, on_wait: OnWait) -> Iterator[LocalModel]:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            factories.change(gone, cancel_requested=True)
            on_wait("loading_model", 0.5)
            time.sleep(0.01)
        raise ModelUnavailable("It was waited for too long.")
        yield small

    monkeypatch.setattr(registry, "language_model", never)
    run_job(late)
    assert failed(late)["code"] == "deadline_exceeded"
    run_job(gone)
    assert factories.load(gone).status == "cancelled"
