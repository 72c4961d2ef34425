"""Whisper from a folder: a real one, tiny and untrained, so that what it says is nonsense."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from config.errors import ModelUnavailable, Unavailable, Unusable
from tests import factories
from tests.workers.voice.spoken import noise, say, silence
from tests.workers.voice.whisper_model import tiny_whisper
from workers.voice import decoders, whisper
from workers.voice.ports import HEARING_RATE, Samples, Transcript
from workers.voice.whisper import WhisperTranscriber


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Iterator[WhisperTranscriber]:
    transcriber = WhisperTranscriber(folder)
    yield transcriber
    transcriber.close()


@pytest.fixture(scope="module")
def sentence() -> Samples:
    (spoken,) = say("I would like to book a table for two on Friday evening.")
    return spoken


def understood(transcriber: WhisperTranscriber, sound: Samples, piece: int = 1_600) -> Transcript:
    utterance = transcriber.utterance()
    for at in range(0, len(sound), piece):
        utterance.feed(sound[at : at + piece])
    return utterance.finish()


def test_it_says_something_and_how_sure_it_is(tiny: WhisperTranscriber, sentence: Samples) -> None:
    transcript = understood(tiny, sentence)
    assert transcript.text
    assert 0 < transcript.confidence < 0.2  # nobody has taught it
    assert transcript.backend == tiny.name == "whisper-tiny"
    assert understood(tiny, sentence, piece=len(sentence)) == transcript


@pytest.mark.parametrize("sound", [silence(3), silence(0), noise(2, -30), noise(0.05)])
def test_where_nobody_speaks_it_invents_nothing(tiny: WhisperTranscriber, sound: Samples) -> None:
    assert understood(tiny, sound) == Transcript("", 0.0, "whisper-tiny")


def test_partial_words_come_about_once_a_second_of_sound(
    tiny: WhisperTranscriber, sentence: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "PARTIAL_MOST_S", 60)
    monkeypatch.setattr("workers.voice.whisper.time.monotonic", iter(range(10**6)).__next__)
    utterance = tiny.utterance()
    told = [utterance.feed(sentence[at : at + 1_600]) for at in range(0, 3 * HEARING_RATE, 1_600)]
    assert all(text is None for text in told[:9])
    assert 1 <= sum(text is not None for text in told) <= 3
    utterance.close()


def test_one_that_is_slow_tells_none(
    tiny: WhisperTranscriber, sentence: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "PARTIAL_MOST_S", -1.0)
    utterance = tiny.utterance()
    assert [utterance.feed(sentence[at : at + 1_600]) for at in range(0, len(sentence), 1_600)].count(None) > 20
    assert utterance.finish().text


def test_a_busy_one_tells_none_and_the_end_waits(tiny: WhisperTranscriber, sentence: Samples) -> None:
    calls = [lambda: understood(tiny, sentence)] * 3
    assert len(set(factories.at_once(*calls))) == 1


def test_half_a_minute_and_more_is_heard(tiny: WhisperTranscriber, sentence: Samples) -> None:
    assert understood(tiny, np.resize(sentence, 35 * HEARING_RATE), piece=HEARING_RATE).text


def test_phrases_are_refused(tiny: WhisperTranscriber) -> None:
    with pytest.raises(Unusable, match="given phrases"):
        tiny.utterance(["turn on the light"])


def test_what_is_over_is_over(tiny: WhisperTranscriber) -> None:
    utterance = tiny.utterance()
    utterance.close()
    utterance.close()
    with pytest.raises(ValueError, match="over"):
        utterance.feed(silence(0.1))


def test_another_takes_over_where_one_dies(folder: Path, sentence: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    before = psutil.Process().children()
    transcriber = WhisperTranscriber(folder)
    try:
        utterance = transcriber.utterance()
        utterance.feed(sentence[:8_000])
        (child,) = [one for one in psutil.Process().children() if one not in before]
        child.kill()
        child.wait(10)
        utterance.feed(sentence[8_000:])
        assert utterance.finish().text
        monkeypatch.setattr(decoders, "ANSWER_S", 0.0)
        monkeypatch.setattr(decoders, "START_S", 0.0)
        with pytest.raises(Unavailable, match="whisper-tiny"):
            understood(transcriber, sentence[:8_000])
    finally:
        transcriber.close()
    assert [one for one in psutil.Process().children() if one not in before] == []


def broken(folder: Path, at: Path, name: str, content: bytes | None) -> Path:
    shutil.copytree(folder, at)
    if content is None:
        (at / name).unlink()
    else:
        (at / name).write_bytes(content)
    return at


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.bin", b"not a model"),
        ("model.bin", None),
        ("config.json", None),
        ("tokenizer.json", None),  # the library would fetch another
        ("tokenizer.json", json.dumps({"version": "9"}).encode()),
    ],
)
def test_a_broken_folder_is_told(folder: Path, tmp_path: Path, name: str, content: bytes | None) -> None:
    with pytest.raises(ModelUnavailable, match="whisper-broken") as caught:
        WhisperTranscriber(broken(folder, tmp_path / "broken", name, content))
    assert str(tmp_path) not in caught.value.detail


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="whisper-tiny"):
        WhisperTranscriber(tmp_path / "tiny")
