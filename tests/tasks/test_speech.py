"""Recordings become text: each once, whatever is killed, and stopped within an utterance."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise

import pytest
import redis

from config.queues import Kind
from config.settings import reset_settings
from storage import blobs
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tests import factories
from tests.tasks.speaking import Counting, bare, brought, counting, events, failed, five, nothing, result_of
from tests.tasks.test_chats import Killed, kill
from tests.workers.voice.spoken import noise, say, silence, together
from workers.voice import house
from workers.voice.ports import HEARING_RATE, Samples
from workers.voice.sphinx import SphinxTranscriber
from workers.voice.wav import write_wav

__all__ = ["counting", "five"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def test_a_recording_is_heard_utterance_by_utterance(counting: Counting, five: Samples, clean_redis: str) -> None:
    job_id = brought(five)
    run_job(job_id)
    result = result_of(job_id)
    segments = result["segments"]
    assert len(segments) == len(counting.heard) == 5
    assert result["text"] == " ".join(one["text"] for one in segments)
    assert (result["backend"], result["confidence"], result["problem"]) == ("counting/1", 0.5, None)
    assert result["duration_ms"] == pytest.approx(len(five) * 1000 / HEARING_RATE, abs=2)
    spans = [(one["start_ms"], one["end_ms"]) for one in segments]
    assert all(start < end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    told = events(clean_redis, job_id, "item")
    assert [bare(event) for event in told] == segments
    assert [event["item_index"] for event in told] == list(range(5))
    progress = events(clean_redis, job_id, "progress")
    assert (progress[-1]["done"], progress[-1]["total"], progress[-1]["unit"]) == (
        round(result["duration_ms"] / 1000), round(result["duration_ms"] / 1000), "seconds",
    )  # fmt: skip
    assert [event["done"] for event in progress] == sorted({event["done"] for event in progress})


def test_segments_stand_where_the_speech_does(counting: Counting) -> None:
    (said,) = say("seven eight nine")
    job_id = brought(together(silence(2), said, silence(2)))
    run_job(job_id)
    (segment,) = result_of(job_id)["segments"]
    assert 1500 <= segment["start_ms"] <= 2300
    assert 2000 + len(said) / 16 - 400 <= segment["end_ms"] <= 2000 + len(said) / 16 + 200


def test_the_last_word_needs_no_silence_behind_it(counting: Counting) -> None:
    (said,) = say("seven eight nine")
    job_id = brought(said[: 512 * 30 + 100])
    run_job(job_id)
    result = result_of(job_id)
    (segment,) = result["segments"]
    assert segment["end_ms"] == result["duration_ms"]


@pytest.mark.parametrize("sound", [silence(3), noise(3), silence(0.01)], ids=["silence", "noise", "a click"])
def test_where_nobody_speaks_nothing_is_said(counting: Counting, sound: Samples) -> None:
    job_id = brought(sound)
    run_job(job_id)
    result = result_of(job_id)
    assert (result["text"], result["segments"], result["confidence"], result["backend"]) == ("", [], None, "counting")


def test_what_was_not_understood_is_no_segment(counting: Counting, five: Samples) -> None:
    counting.says = lambda samples: "" if len(counting.heard) == 3 else f"{samples}"
    job_id = brought(five)
    run_job(job_id)
    assert len(result_of(job_id)["segments"]) == 4


def test_endless_speech_is_cut(counting: Counting, five: Samples, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("VOICE_MAX_UTTERANCE_S", "2")
    reset_settings()
    (long,) = say("a b c d e f g h i j k l m n o p q r s t u v w x y z")
    run_job(job_id := brought(together(long, silence(1))))
    assert max(counting.heard) <= 2.1 * HEARING_RATE
    assert sum(counting.heard) >= len(long) - HEARING_RATE // 2, "nothing between two cuts is lost"
    assert len(result_of(job_id)["segments"]) == len(counting.heard) > 2


def test_a_closed_grammar_is_passed_on(counting: Counting, five: Samples) -> None:
    run_job(brought(five, phrases=["one two", "six"]))
    assert counting.phrases == ["one two", "six"]


@pytest.mark.parametrize("at", [0, 1, 3, 4])
def test_a_killed_worker_is_followed_by_one_that_goes_on(
    counting: Counting, five: Samples, clean_redis: str, at: int
) -> None:
    run_job(whole := brought(five))
    expected = result_of(whole)
    counting.heard.clear()
    counting.between = lambda finished: kill() if finished == at else None
    job_id = brought(five)
    with pytest.raises(Killed):
        run_job(job_id)
    assert len(counting.heard) == at
    counting.between = nothing
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert result_of(job_id) == expected
    assert len(counting.heard) == 5, "nothing was heard twice"
    assert [bare(event) for event in events(clean_redis, job_id, "item")] == expected["segments"]


def test_what_was_told_and_not_kept_is_not_told_again(counting: Counting, five: Samples, clean_redis: str) -> None:
    counting.between = lambda finished: kill() if finished == 3 else None
    job_id = brought(five)
    with pytest.raises(Killed):
        run_job(job_id)
    kept = factories.load(job_id).checkpoint
    assert kept is not None
    factories.change(job_id, checkpoint={name: kept[name] for name in ("seconds", "problem")})
    counting.between = nothing
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    told = events(clean_redis, job_id, "item")
    assert [bare(event) for event in told] == result_of(job_id)["segments"]
    assert len(counting.heard) == 3 + 5


@pytest.mark.parametrize("attempts", [1, 2])
def test_an_emptied_redis_in_the_middle(counting: Counting, five: Samples, clean_redis: str, attempts: int) -> None:
    def between(finished: int) -> None:
        if finished == 3:
            counting.between = nothing
            redis.Redis.from_url(clean_redis).flushall()
            if attempts == 2:
                kill()

    counting.between = between
    job_id = brought(five)
    if attempts == 2:
        with pytest.raises(Killed):
            run_job(job_id)
        bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    after = events(clean_redis, job_id)
    assert after[0]["type"] == "reset"
    assert [bare(event) for event in after if event["type"] == "item"] == result_of(job_id)["segments"]


def test_a_cancel_is_effective_within_an_utterance(counting: Counting, held: Leases) -> None:
    fed = []

    def between(_finished: int) -> None:
        fed.append(1)
        if len(fed) == 2:
            next(iter(held._runs.values())).cancel_requested.set()

    (long,) = say("a b c d e f g h i j k l m n o p q r s t u v w x y z")
    counting.between = between
    job_id = brought(together(long, silence(1)))
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert (len(fed), counting.heard) == (2, [])


def test_a_worker_that_stops_hands_it_over(counting: Counting, five: Samples, held: Leases) -> None:
    counting.between = lambda finished: held.stopping.set() if finished == 2 else None
    job_id = brought(five)
    run_job(job_id)
    assert (factories.load(job_id).status, factories.load(job_id).failures) == ("queued", 0)
    held.stopping.clear()
    counting.between = nothing
    run_job(job_id)
    assert len(result_of(job_id)["segments"]) == 5


def test_a_recording_that_is_too_long_is_refused_before_it_is_heard(
    counting: Counting, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("VOICE_MAX_FILE_MIN", "1")
    reset_settings()
    fits, long = brought(silence(60)), brought(silence(60.5))
    run_job(fits)
    assert result_of(fits)["duration_ms"] == 60_000
    run_job(long)
    assert (failed(long)["code"], failed(long)["retryable"]) == ("too_large", False)
    assert failed(long)["message"].endswith(".")


def test_what_is_no_sound_fails_with_a_sentence(counting: Counting) -> None:
    digest, _ = blobs.store(io.BytesIO(b"no sound at all" * 100), 1 << 20)
    job_id = factories.job(Kind.TRANSCRIBE, input={"blob": digest})
    run_job(job_id)
    error = failed(job_id)
    assert (error["code"], error["retryable"]) == ("unprocessable", False)
    assert "/" not in error["message"]


def test_of_a_damaged_file_what_there_is(counting: Counting, five: Samples) -> None:
    wav = write_wav(five, HEARING_RATE)
    digest, _ = blobs.store(io.BytesIO(wav[: len(wav) // 2]), 1 << 30)
    job_id = factories.job(Kind.TRANSCRIBE, input={"blob": digest})
    run_job(job_id)
    result = result_of(job_id)
    assert 0 < len(result["segments"]) < 5


@pytest.fixture
def sphinx(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made = SphinxTranscriber(1)
    monkeypatch.setitem(house._parts, "transcriber", made)
    yield
    made.close()


@pytest.mark.usefixtures("sphinx")
def test_the_embedded_recogniser_hears_a_closed_grammar() -> None:
    phrases = ["open the door", "close the window", "stop the music"]
    said = together(*(piece for one in say(*phrases) for piece in (silence(1), one, silence(1))))
    run_job(job_id := brought(said, phrases=phrases))
    result = result_of(job_id)
    assert [one["text"] for one in result["segments"]] == phrases
    assert 0 < result["confidence"] <= 1
