"""The emotion of a question: found once, kept with it, told; a chat goes without where nobody can tell."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from config.errors import Unavailable
from storage import emotions as kept
from tasks import emotions
from tasks.base import bury_or_put_back, run_job
from tests import factories
from tests.tasks.test_chats import TEXT, Killed, Scripted, answered, ask, events, kill
from workers import registry
from workers.embedding.hashing import HashingEmbedder
from workers.emotion.prototypes import PrototypeEmotion
from workers.ports import Feeling

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")
FEELING = Feeling({"joy": 0.75, "neutral": 0.25}, "test")
TOLD = {"primary_emotion": "joy", "confidence": 0.75, "scores": {"joy": 0.75, "neutral": 0.25}, "backend": "test"}


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted()
    monkeypatch.setattr(registry, "language_model", lambda _name, _on_wait: nullcontext(scripted))
    return scripted


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that came to the index worker."""
    texts: list[str] = []

    def feel(text: str, _timeout_s: float) -> dict[str, Any]:
        texts.append(text)
        return emotions.emotion_json(FEELING)

    monkeypatch.setattr(emotions, "feel", feel)
    return texts


def test_an_emotion_is_kept_and_told(model: Scripted, asked: list[str], clean_redis: str) -> None:
    job_id, question = ask("Great!", emotion=True)
    run_job(job_id)
    assert asked == ["Great!"]
    job = answered(job_id)
    assert job.result is not None
    assert job.result["emotion"] == TOLD
    of_question, of_answer = map(kept.of, factories.all_messages(question.conversation_id))
    assert (of_question, of_answer) == (TOLD, None)
    assert [event["emotion"] for event in events(clean_redis, job_id) if event.get("status") == "emotion"] == [TOLD]


def test_nobody_is_asked_who_did_not_want_to_know(model: Scripted, asked: list[str]) -> None:
    job_id, _ = ask("Great!")
    run_job(job_id)
    assert asked == []
    job = answered(job_id)
    assert job.result is not None
    assert "emotion" not in job.result


def test_it_is_found_once_however_often_the_answer_is_tried(model: Scripted, asked: list[str]) -> None:
    job_id, _ = ask(emotion=True)
    model.before[3] = kill
    with pytest.raises(Killed):
        run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(asked) == 1
    job = answered(job_id)
    assert job.result is not None
    assert job.result["emotion"] == TOLD


def test_without_the_index_worker_the_answer_comes_all_the_same(
    model: Scripted, monkeypatch: pytest.MonkeyPatch, clean_redis: str
) -> None:
    def away(*_: object) -> dict[str, Any]:
        raise Unavailable("No search worker answered.")

    monkeypatch.setattr(emotions, "feel", away)
    job_id, question = ask(emotion=True)
    run_job(job_id)
    answered(job_id)
    assert factories.shown(question.conversation_id) == [question.content, TEXT]
    assert "emotion_unavailable" in [event.get("status") for event in events(clean_redis, job_id)]


# --- the index worker's side


def test_a_worker_answers(settings: pytest.MonkeyPatch) -> None:
    settings.setattr(registry, "_emotion", PrototypeEmotion(HashingEmbedder()))
    told = emotions.answer({"text": "I am so angry with you right now."})
    assert told.keys() == {"primary_emotion", "confidence", "scores", "backend"}
    assert told["confidence"] == told["scores"][told["primary_emotion"]] == max(told["scores"].values())
    assert told["backend"] == "prototypes-hashing-384"


def test_a_question_nobody_answers(settings: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        emotions.feel("x", 0.05)
