"""A spoken turn is had once, whole or as far as it was heard, whatever happens to the worker that speaks it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis

from config.errors import ModelUnavailable, ProviderRefused, Unavailable
from config.queues import Kind
from storage import files, jobs, spoken, voice_lines
from storage.database import reading, transaction
from storage.endings import cancel
from storage.tables import LOCAL_OWNER
from tasks import voice_turns
from tasks.base import bury_or_put_back, run_job
from tasks.leases import get_leases
from tests import factories
from tests.servers import wait_until
from tests.tasks.test_chats import Killed, Scripted, answered, events, kill, model
from tests.tasks.turns import ScriptedSpeaker, replies_run, reply_of, speaker, spoken_job
from workers.voice import house

__all__ = ["model", "speaker"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis", "feelings")
SENTENCES = ["It is forty two.", "Everybody knows that by now.", "Nobody knows why it is."]
TEXT = " ".join(SENTENCES)


@pytest.fixture
def feelings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the index worker was asked about."""
    asked: list[str] = []

    def feel(text: str, _timeout_s: float) -> dict[str, Any]:
        asked.append(text)
        return {"primary_emotion": "joy", "confidence": 0.8, "scores": {"joy": 0.8, "neutral": 0.2}, "backend": "b"}

    monkeypatch.setattr(voice_turns, "feel", feel)
    return asked


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the model says, token by token."""
    from tests.tasks import test_chats

    said = TEXT.split(" ")
    monkeypatch.setattr(test_chats, "WORDS", said)
    return said


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in found if event["type"] not in ("status", "started")]


def heard(job_id: str, found: list[dict[str, Any]]) -> str:
    """The answer as its sound has it."""
    letters = []
    for event in found:
        if event["type"] == "audio":
            pcm = voice_lines.load_audio(job_id, event["index"])
            assert pcm is not None
            assert len(pcm) == 2 * event["samples"]
            letters += [chr(pcm[at] + 256 * pcm[at + 1]) for at in range(0, len(pcm), 2 * 160)]
    return "".join(letters)


def test_a_turn_from_the_question_to_its_sound(
    model: Scripted, speaker: ScriptedSpeaker, clean_redis: str, feelings: list[str]
) -> None:
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    job = answered(job_id)
    assert job.result is not None
    found = events(clean_redis, job_id)
    order = kinds(found)
    assert order[:2] == ["transcript", "emotion"]
    assert order[-1] == "done"
    assert order.index("response") < order.index("audio") < order.index("sentence")
    assert order.count("sentence") == 3
    assert [event["message"] for event in found if event["type"] == "status"] == [
        "Transcribing...", "Detecting emotion...", "Generating response...", "Synthesizing speech...",
    ]  # fmt: skip
    assert speaker.said == SENTENCES
    assert heard(job_id, found) == "".join(SENTENCES)
    assert [event for event in found if event["type"] == "response"][-1] == {
        "type": "response", "text": f"{TEXT} ", "final": True, "job_id": job_id,
        "sequence_number": [event["type"] for event in found].index("response") + 2
        if order.count("response") == 1
        else len(found),
    }  # fmt: skip
    question, answer = factories.all_messages(job.result["session_id"])
    assert (question.content, answer.content) == ("What is the answer?", f"{TEXT} ")
    assert question.parts["emotion"]["primary_emotion"] == "joy"
    assert feelings == ["What is the answer?"]
    assert (job.result["message_id"], job.result["question_id"]) == (answer.id, question.id)
    assert {"vad_ms", "stt_ms", "emotion_ms", "first_token_ms", "first_audio_ms", "tts_ms", "total_ms"} == set(
        job.result["timings"]
    )
    for message in (question, answer):
        about = spoken.of(message)
        assert about is not None
        with reading() as session:
            file = files.get(session, about["file_id"], LOCAL_OWNER)
            assert (file.message_id, file.file_type) == (message.id, "audio/wav")


def test_sound_is_not_kept_where_nobody_wants_it(
    model: Scripted, speaker: ScriptedSpeaker, settings: pytest.MonkeyPatch
) -> None:
    from config.settings import reset_settings

    settings.setenv("VOICE_KEEP_AUDIO", "false")
    reset_settings()
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    result = answered(job_id).result
    assert result is not None
    for message in factories.all_messages(result["session_id"]):
        about = spoken.of(message)
        assert about is not None
        assert "file_id" not in about
    with reading() as session:
        assert files.count(session, LOCAL_OWNER) == 0


def test_nothing_was_understood(model: Scripted, speaker: ScriptedSpeaker, clean_redis: str) -> None:
    job_id = spoken_job("")
    run_job(job_id)
    result = answered(job_id).result
    assert result is not None
    assert result["understood"] is False
    assert factories.all_jobs(Kind.VOICE_REPLY) == []
    assert kinds(events(clean_redis, job_id)) == ["transcript", "done"]


def test_words_without_a_known_feeling_are_answered(
    model: Scripted, speaker: ScriptedSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_text: str, _timeout_s: float) -> dict[str, Any]:
        raise Unavailable("away")

    monkeypatch.setattr(voice_turns, "feel", away)
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    assert answered(job_id)


def test_a_model_that_refuses_ends_the_turn(model: Scripted, speaker: ScriptedSpeaker, clean_redis: str) -> None:
    def refuse() -> None:
        raise ProviderRefused("No.")

    model.before[3] = refuse
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    job = factories.load(job_id)
    assert (job.status, job.error) == (
        "failed",
        {"code": "provider_refused", "message": "No.", "retryable": False},
    )
    (question,) = factories.all_messages(job.conversation_id or "")
    assert question.content == "What is the answer?"  # and can be asked again
    with transaction() as session:
        jobs.replay(session, job_id, LOCAL_OWNER)
    with replies_run():
        run_job(job_id)
    assert answered(job_id)
    assert [row.content for row in factories.all_messages(job.conversation_id or "")] == [
        "What is the answer?", f"{TEXT} ",
    ]  # fmt: skip


# --- a worker that dies


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_killed_worker_is_followed_by_one_that_speaks_on(
    model: Scripted, speaker: ScriptedSpeaker, clean_redis: str, sentence: str
) -> None:
    speaker.before = lambda text: kill() if text == sentence else None
    job_id = spoken_job()
    with replies_run(), pytest.raises(Killed):
        run_job(job_id)
    speaker.before = lambda _text: None
    bury_or_put_back(factories.load(job_id))
    with replies_run():
        run_job(job_id)
    found = events(clean_redis, job_id)
    assert [event["sequence_number"] for event in found] == list(range(2, len(found) + 2))
    assert kinds(found).count("transcript") == kinds(found).count("emotion") == 1
    assert heard(job_id, found) == "".join(SENTENCES)
    assert speaker.said == SENTENCES
    assert len(factories.all_jobs(Kind.VOICE_REPLY)) == 1
    result = answered(job_id).result
    assert result is not None
    _, answer = factories.all_messages(result["session_id"])
    about = spoken.of(answer)
    assert about is not None
    assert about["duration_ms"] == 20 * len("".join(SENTENCES))
    assert "file_id" in about


def test_a_sentence_that_was_half_spoken_is_spoken_on(
    model: Scripted, speaker: ScriptedSpeaker, clean_redis: str
) -> None:
    speaker.at = lambda text, letter: kill() if (text, letter) == (SENTENCES[1], 26) else None
    job_id = spoken_job()
    with replies_run(), pytest.raises(Killed):
        run_job(job_id)
    found = events(clean_redis, job_id)
    assert [event["type"] for event in found][-1] == "audio"
    speaker.at = lambda _text, _letter: None
    bury_or_put_back(factories.load(job_id))
    with replies_run():
        run_job(job_id)
    found = events(clean_redis, job_id)
    assert heard(job_id, found) == "".join(SENTENCES)
    (second,) = [event for event in found if event["type"] == "sentence" and event["text"].startswith("Everybody")]
    assert second["end_ms"] - second["start_ms"] == 20 * len(SENTENCES[1])


def test_without_a_speaker_the_answer_is_written(
    model: Scripted, speaker: ScriptedSpeaker, clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> None:
        raise ModelUnavailable("Nobody speaks.")

    monkeypatch.setattr(house, "speaker", nobody)
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    result = answered(job_id).result
    assert result is not None
    assert result["response"] == f"{TEXT} "
    found = events(clean_redis, job_id)
    assert [event["message"] for event in found if event.get("status") == "not_spoken"] == ["Nobody speaks."]
    assert "audio" not in kinds(found)
    assert kinds(found).count("sentence") == 3


def test_killed_between_question_and_answer(
    model: Scripted, speaker: ScriptedSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = spoken_job()
    with monkeypatch.context() as patch:
        patch.setattr(voice_turns.Turn, "_feel", lambda *_: kill())
        with pytest.raises(Killed):
            run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    with replies_run():
        run_job(job_id)
    result = answered(job_id).result
    assert result is not None
    assert len(factories.all_messages(result["session_id"])) == 2


def test_an_emptied_redis_is_told_the_answer_from_its_start(
    model: Scripted, speaker: ScriptedSpeaker, clean_redis: str
) -> None:
    def empty(text: str) -> None:
        if text == SENTENCES[1]:
            wait_until(lambda: reply_of().status == "succeeded")
            redis.Redis.from_url(clean_redis).flushall()

    speaker.before = empty
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    found = events(clean_redis, job_id)
    assert found[0]["type"] == "reset"
    assert {"transcript", "emotion", "response"} <= set(kinds(found))
    assert heard(job_id, found) == "".join(SENTENCES)
    assert found[0]["sequence_number"] > 5  # numbers that nobody has seen


# --- an answer that is stopped


def flag(job_id: str) -> None:
    """What a worker's own ear for cancels does."""
    next(run for run in get_leases().held() if run.id == job_id).cancel_requested.set()


def test_an_answer_is_cut_to_what_was_heard(model: Scripted, speaker: ScriptedSpeaker, clean_redis: str) -> None:
    first = len(SENTENCES[0]) * 20
    speaker.before = lambda text: voice_lines.cut(job_id, first) if text == SENTENCES[1] else None
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    result = answered(job_id).result
    assert result is not None
    assert (result["interrupted"], result["heard_ms"], result["response"]) == (True, first, SENTENCES[0])
    assert speaker.said == SENTENCES[:2]
    _, answer = factories.all_messages(result["session_id"])
    assert answer.content == SENTENCES[0]
    assert answer.parts["interrupted"]["heard_ms"] == first
    (told,) = [event for event in events(clean_redis, job_id) if event["type"] == "interrupted"]
    assert told["text"] == SENTENCES[0]


def test_a_model_that_is_still_writing_stops_at_the_next_token(
    model: Scripted, speaker: ScriptedSpeaker, words: list[str]
) -> None:
    words += ["more"] * 200
    go_on = threading.Event()
    model.before[20] = lambda: None if go_on.wait(20) else kill()

    def stop(text: str) -> None:
        voice_lines.cut(job_id, 0)
        go_on.set()

    speaker.before = stop
    job_id = spoken_job()

    def hear_of_it() -> None:
        wait_until(lambda: factories.load(reply_of().id).cancel_requested)
        flag(reply_of().id)

    model.before[30] = hear_of_it
    with replies_run():
        run_job(job_id)
    result = answered(job_id).result
    assert result is not None
    assert reply_of().status == "cancelled"
    _, answer = factories.all_messages(result["session_id"])
    assert answer.content == result["response"] == ""
    assert answer.parts["interrupted"]["heard_ms"] == 0


def test_an_answer_whose_turn_has_ended_is_cut_afterwards(model: Scripted, speaker: ScriptedSpeaker) -> None:
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    result = answered(job_id).result
    assert result is not None
    for heard_ms in (len(SENTENCES[0]) * 20, 0):  # the first counts
        voice_turns.cut_afterwards(job_id, LOCAL_OWNER, heard_ms)
        _, answer = factories.all_messages(result["session_id"])
        assert answer.content == SENTENCES[0]
    assert answer.parts["voice"]["file_id"]


def test_who_heard_all_cuts_nothing(model: Scripted, speaker: ScriptedSpeaker) -> None:
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    voice_turns.cut_afterwards(job_id, LOCAL_OWNER, 10**6)
    result = answered(job_id).result
    assert result is not None
    _, answer = factories.all_messages(result["session_id"])
    assert answer.content == f"{TEXT} "
    assert "interrupted" not in answer.parts


def test_a_cancelled_turn_cancels_its_reply(model: Scripted, speaker: ScriptedSpeaker) -> None:
    def stop(_text: str) -> None:
        with transaction() as session:
            cancel(session, job_id, LOCAL_OWNER)
        flag(job_id)

    speaker.before = stop
    job_id = spoken_job()
    with replies_run():
        run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
