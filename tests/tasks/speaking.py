"""Recordings and texts, a transcriber that counts, and a speaker."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest
import redis

from config.queues import Kind
from config.settings import get_settings
from storage import blobs
from storage.events import EventLog
from tasks.speech import FEED
from tests import factories
from tests.workers.voice.spoken import say, silence, together
from workers.voice import house
from workers.voice.ports import HEARING_RATE, Samples, Transcript
from workers.voice.speaker import load_speaker
from workers.voice.wav import read_wav, write_wav

Json = dict[str, Any]
SENTENCES = "This is the first sentence. Here comes another one! Do you hear the third? And that was all."


def nothing(*_: object) -> None:
    """To be done in between."""


class Counting:
    """Hears how long it was spoken, in words: the same for the same sound."""

    name = "counting"

    def __init__(self) -> None:
        self.heard: list[int] = []  # samples of each utterance that was finished
        self.phrases: Sequence[str] = ()
        self.between: Callable[[int], None] = nothing  # told how many were finished, at each feed
        self.says: Callable[[int], str] = "{} samples".format
        self.open = 0

    def utterance(self, phrases: Sequence[str] = ()) -> _Listening:
        self.phrases = phrases
        return _Listening(self)


class _Listening:
    def __init__(self, transcriber: Counting) -> None:
        self._transcriber, self._samples = transcriber, 0
        transcriber.open += 1

    def feed(self, samples: Samples) -> str | None:
        assert len(samples) <= FEED
        self._transcriber.between(len(self._transcriber.heard))
        self._samples += len(samples)
        return None

    def finish(self) -> Transcript:
        self._transcriber.heard.append(self._samples)
        return Transcript(self._transcriber.says(self._samples), 0.5, "counting/1")

    def close(self) -> None:
        self._transcriber.open -= 1


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    transcriber = Counting()
    monkeypatch.setitem(house._parts, "transcriber", transcriber)
    yield transcriber
    assert transcriber.open == 0


@pytest.fixture(scope="module")
def speaker() -> Iterator[Any]:
    made = load_speaker(get_settings().data_dir, "espeak")
    yield made
    made.close()


@pytest.fixture
def aloud(speaker: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(house._parts, "speaker", speaker)
    return speaker


@pytest.fixture(scope="module")
def five() -> Samples:
    """Five utterances with pauses."""
    said = say("one two", "three four five", "six", "seven eight", "nine ten eleven twelve")
    return together(silence(0.5), *(piece for one in said for piece in (one, silence(1.2))))


def brought(samples: Samples, **given: Any) -> str:
    digest, _ = blobs.store(io.BytesIO(write_wav(samples, HEARING_RATE)), 1 << 30)
    return factories.job(Kind.TRANSCRIBE, input={"blob": digest, **given})


def ordered(text: str = SENTENCES, **given: Any) -> str:
    return factories.job(Kind.SPEAK, input={"text": text, **given})


def result_of(job_id: str) -> Json:
    job = factories.load(job_id)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job.result


def failed(job_id: str) -> Json:
    job = factories.load(job_id)
    assert job.status == "failed", job.result
    assert job.error is not None
    return job.error


def events(url: str, job_id: str, *kinds: str) -> list[Json]:
    found = [orjson.loads(event.json) for event in EventLog(redis.Redis.from_url(url)).read(job_id)]
    return [event for event in found if not kinds or event["type"] in kinds]


def bare(event: Json) -> Json:
    return {name: event[name] for name in ("start_ms", "end_ms", "text", "confidence")}


def heard_alike(one: Json, other: Json) -> bool:
    """espeak-ng says a text a little otherwise after another one."""
    (first, rate), (second, also) = (read_wav(blobs.path(each["blob"])) for each in (one, other))
    return rate == also and len(first) == pytest.approx(len(second), rel=0.02)
