"""An answer is told again to the very same request, of the same person, to the same model; and to no other."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.catalogue import LOCAL
from config.queues import Kind
from config.settings import reset_settings
from storage import answer_cache
from storage.database import transaction
from storage.tables import Job
from tasks.answer_cache import key_of
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tests import factories
from tests.tasks.test_chats import TEXT, Killed, Scripted, answered, ask, events, kill, said
from workers import registry
from workers.ports import Attachment, ChatMessage, ChatRequest, Passage, Sampling

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted()
    monkeypatch.setattr(registry, "language_model", lambda _name, _on_wait: nullcontext(scripted))
    return scripted


def answer(text: str = "Why?", **options: Any) -> Job:
    job_id, _ = ask(text, **{"temperature": 0, **options})
    run_job(job_id)
    return answered(job_id)


def result(job: Job) -> dict[str, Any]:
    assert job.result is not None
    return job.result


def test_the_same_question_is_answered_once(model: Scripted, clean_redis: str) -> None:
    first, second = answer(), answer()
    assert len(model.requests) == 1
    assert "cached" not in result(first)
    assert result(second)["cached"] is True
    same = ("content", "model", "finish_reason", "prompt_tokens", "completion_tokens", "sources")
    assert [result(first)[name] for name in same] == [result(second)[name] for name in same]
    found = events(clean_redis, second.id)
    assert [event["type"] for event in found] == ["started", "status", "content", "done"]
    assert said(found) == TEXT
    assert factories.shown(result(second)["session_id"]) == ["Why?", TEXT]


@pytest.mark.parametrize(
    ("options", "is_kept"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": 0.1}, False),
        ({"temperature": None}, False),
        ({"temperature": 0, "cache": False}, False),
        ({"temperature": 1, "cache": True}, True),
        ({"temperature": 0, "logprobs": 2}, False),
    ],
)
def test_only_what_would_be_the_same_again_is_kept(model: Scripted, options: dict[str, Any], is_kept: bool) -> None:
    answer(**options)
    assert result(answer(**options)).get("cached", False) is is_kept
    assert len(model.requests) == (1 if is_kept else 2)


@pytest.mark.parametrize(
    "other",
    [{"text": "Why not?"}, {"system": "Be kind."}, {"seed": 7}, {"max_tokens": 5}, {"top_k": 3}, {"stop": ["x"]}],
)
def test_another_request_is_another_answer(model: Scripted, other: dict[str, Any]) -> None:
    answer()
    answer(**other)
    assert len(model.requests) == 2


def test_another_history_is_another_answer(model: Scripted) -> None:
    conversation_id = result(answer())["session_id"]
    answer(conversation_id=conversation_id)
    assert len(model.requests) == 2


def test_somebody_elses_answer_is_not_told(model: Scripted) -> None:
    answer()
    other = factories.owner()
    conversation_id = factories.conversation(other)
    question = factories.question(conversation_id, "Why?", other)
    given = {"message_id": question.id, "use_rag": False, "temperature": 0}
    job_id = factories.job(Kind.CHAT, owner_id=other, input=given, conversation_id=conversation_id)
    run_job(job_id)
    assert "cached" not in result(answered(job_id))


def test_a_deletion_while_it_is_answered_keeps_nothing(model: Scripted) -> None:
    def delete_something() -> None:
        with transaction() as session:
            answer_cache.forget_after_commit(session, owner_id)

    job_id, _ = ask("Why?", temperature=0)
    owner_id = factories.load(job_id).owner_id
    model.before[4] = delete_something
    run_job(job_id)
    answered(job_id)
    assert "cached" not in result(answer())


def test_a_resumed_answer_leaves_the_cache_alone(model: Scripted, clean_redis: str) -> None:
    job_id, _ = ask("Why?", temperature=0)
    model.before[3] = kill
    with pytest.raises(Killed):
        run_job(job_id)
    answer()  # somebody asked the same meanwhile
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert result(answered(job_id))["content"] == TEXT
    assert said(events(clean_redis, job_id)) == TEXT


def test_a_cancelled_answer_is_not_kept(model: Scripted, held: Leases) -> None:
    job_id, _ = ask("Why?", temperature=0)
    model.before[2] = lambda: held._cancel(job_id)
    run_job(job_id)
    assert "cached" not in result(answer())


def test_switched_off_it_is_answered_anew(model: Scripted, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("ENABLE_CACHE", "false")
    reset_settings()
    answer()
    assert "cached" not in result(answer())
    assert len(model.requests) == 2


# --- the key

REQUEST = ChatRequest(
    (ChatMessage("user", "Why?"),), (Passage("Because.", "c", "A talk", "m", 0.5),), Sampling(temperature=0)
)


def test_the_moment_is_no_part_of_the_key() -> None:
    model = Scripted()
    later = replace(REQUEST, owner="a", job_id="j", work_class="batch", deadline_s=3.0)
    better = replace(REQUEST, passages=(replace(REQUEST.passages[0], score=0.9),))
    assert key_of(model, REQUEST) == key_of(model, later) == key_of(model, better)


def test_all_that_changes_an_answer_is() -> None:
    model, other = Scripted(), Scripted()
    other.name = "other"
    picture = Attachment("image/png", b"1")
    changed = [
        replace(REQUEST, messages=(ChatMessage("user", "Why?", (picture,)),)),
        replace(REQUEST, messages=(ChatMessage("user", "Why?", (replace(picture, data=b"2"),)),)),
        replace(REQUEST, messages=(ChatMessage("assistant", "Why?"),)),
        replace(REQUEST, passages=()),
        replace(REQUEST, passages=(replace(REQUEST.passages[0], text="Not."),)),
        replace(REQUEST, sampling=Sampling(temperature=0, response_format={"type": "json_object"})),
        replace(REQUEST, sampling=Sampling(temperature=0, logit_bias={"1": 2.0})),
    ]
    keys = {key_of(model, request) for request in (REQUEST, *changed)} | {key_of(other, REQUEST)}
    assert len(keys) == len(changed) + 2


def test_another_file_of_the_same_name_is_another_model(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "scripted.gguf"
    settings.setenv("MODEL_PATH", str(file))
    reset_settings()
    model = Scripted()
    model.provider = LOCAL
    keys = set()
    for content in (b"one", b"another"):
        file.write_bytes(content)
        keys.add(key_of(model, REQUEST))
    assert len(keys) == 2
