"""Texts become recordings: each once, whatever is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from storage import blobs
from tasks import speech
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tasks.speech import SAVE_S
from tests import factories
from tests.tasks.speaking import Json, aloud, events, failed, heard_alike, nothing, ordered, result_of, speaker
from tests.tasks.test_chats import Killed, kill
from workers.voice import house
from workers.voice.ports import Samples
from workers.voice.wav import read_wav

__all__ = ["aloud", "speaker"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def test_a_text_is_spoken(aloud: Any, clean_redis: str) -> None:
    run_job(job_id := ordered())
    result = result_of(job_id)
    assert (result["backend"], result["voice"], result["sample_rate"]) == (
        aloud.name, aloud.voices[0], aloud.sample_rate,
    )  # fmt: skip
    assert result["links"] == {"audio": f"/api/voice/speech/{job_id}"}
    wav = blobs.path(result["blob"])
    assert wav.stat().st_size == result["size"]
    samples, rate = read_wav(wav)
    assert (rate, len(samples) * 1000 // rate) == (result["sample_rate"], result["duration_ms"])
    assert result["duration_ms"] > 4000
    assert np.abs(samples).max() > 3000
    told = [(event["done"], event["total"], event["unit"]) for event in events(clean_redis, job_id, "progress")]
    assert told == [(number, 4, "sentences") for number in (1, 2, 3, 4)]


def test_the_rate_the_voice_and_the_speed_are_what_was_asked_for(aloud: Any) -> None:
    run_job(plain := ordered())
    run_job(other := ordered(voice=aloud.voices[1], speed=2.0, sample_rate=8000))
    slow, fast = result_of(plain), result_of(other)
    assert (fast["voice"], fast["sample_rate"]) == (aloud.voices[1], 8000)
    assert read_wav(blobs.path(fast["blob"]))[1] == 8000
    assert fast["duration_ms"] < 0.7 * slow["duration_ms"]


@pytest.mark.parametrize(("text", "more"), [("🙂 …", {}), ("* * *", {}), ("Hello.", {"voice": "nobody"})])
def test_what_cannot_be_said_is_told(aloud: Any, text: str, more: Json) -> None:
    run_job(job_id := ordered(text, **more))
    assert (failed(job_id)["code"], failed(job_id)["retryable"]) == ("unprocessable", False)


class Interrupting:
    """A speaker that is interrupted in the middle of a sentence."""

    def __init__(self, speaker: Any) -> None:
        self._speaker = speaker
        self.name, self.voices, self.sample_rate = speaker.name, speaker.voices, speaker.sample_rate
        self.said: list[str] = []
        self.between: Callable[[str], None] = nothing

    def speak(self, text: str, voice: str | None = None, speed: float = 1.0) -> Iterator[Samples]:
        self.said.append(text)
        for samples in self._speaker.speak(text, voice, speed):
            self.between(text)
            yield samples


@pytest.fixture
def interrupting(speaker: Any, monkeypatch: pytest.MonkeyPatch) -> Interrupting:
    made = Interrupting(speaker)
    monkeypatch.setitem(house._parts, "speaker", made)
    monkeypatch.setattr(speech, "SAVE_S", 0.0)
    assert SAVE_S > 0
    return made


@pytest.mark.parametrize("word", ["first", "third", "all"])
def test_a_killed_worker_is_followed_by_one_that_speaks_on(interrupting: Interrupting, word: str) -> None:
    run_job(whole := ordered(sample_rate=16_000))
    expected = result_of(whole)
    interrupting.said.clear()
    interrupting.between = lambda text: kill() if word in text else None
    job_id = ordered(sample_rate=16_000)
    with pytest.raises(Killed):
        run_job(job_id)
    interrupting.between = nothing
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(interrupting.said) == 5, "only the sentence in whose middle it died is said again"
    assert heard_alike(result_of(job_id), expected)


def test_what_was_removed_meanwhile_is_spoken_again(interrupting: Interrupting) -> None:
    interrupting.between = lambda text: kill() if "third" in text else None
    job_id = ordered()
    with pytest.raises(Killed):
        run_job(job_id)
    assert blobs.purge(set(), older_than_s=0, now_s=2e9) == 2
    interrupting.between = nothing
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    run_job(whole := ordered())
    assert heard_alike(result_of(job_id), result_of(whole))


def test_a_cancel_stops_the_speaker(interrupting: Interrupting, held: Leases) -> None:
    def between(text: str) -> None:
        if "another" in text:
            next(iter(held._runs.values())).cancel_requested.set()

    interrupting.between = between
    run_job(job_id := ordered())
    assert factories.load(job_id).status == "cancelled"
    assert len(interrupting.said) == 2


def test_a_long_text_is_spoken_to_its_end(aloud: Any) -> None:
    run_job(job_id := ordered("Yes, this is so. " * 200))
    assert result_of(job_id)["duration_ms"] > 100_000
