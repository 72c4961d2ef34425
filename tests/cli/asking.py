"""A question for `backchannel talk`, and what the house says of the turn that answers it."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from cli import voice_line
from cli.talk import OUTPUT_RATE
from tests.cli.conftest import Run
from tests.cli.voice_stand_in import SESSION, TURN, Connected, VoiceStandIn, numbered, voice_stand_in
from workers.voice.ports import HEARING_RATE
from workers.voice.wav import write_wav

Json = dict[str, Any]
Ask = Callable[..., Result]
SOUNDS = [bytes([number, 0]) * 400 for number in (1, 2, 3)]
QUESTION = (np.sin(np.arange(HEARING_RATE) / 20) * 8000).astype(np.int16)
TIMINGS = {"vad_ms": 600, "stt_ms": 210, "first_audio_ms": 900, "total_ms": 1900}
EMOTION = {"primary_emotion": "joy", "confidence": 0.71, "backend": "fusion", "scores": {"joy": 0.71}}


@pytest.fixture
def house() -> Iterator[VoiceStandIn]:
    with voice_stand_in() as made:
        yield made


@pytest.fixture
def ask(run: Run, house: VoiceStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """`backchannel talk --file` with a second of sound."""
    monkeypatch.setenv("BACKCHANNEL_URL", house.url)
    monkeypatch.setattr(voice_line, "LOOK_S", 0.05)
    recording = tmp_path / "question.wav"
    recording.write_bytes(write_wav(QUESTION, HEARING_RATE))

    def begin(*args: str | Path, file: Path = recording) -> Result:
        return run("talk", "--file", file, *args)

    return begin


def audio(index: int) -> Json:
    about = {"index": index, "sample_rate": OUTPUT_RATE, "samples": 400, "duration_ms": 18, "backend": "espeak-ng"}
    return {"type": "audio", **about}


# What a turn's log holds; sound follows each `audio` on the line.
LOG = numbered(
    {"type": "started", "attempt": 1},
    {"type": "status", "status": "transcribing", "message": "Transcribing..."},
    {"type": "transcript", "text": "how do I prune roses", "confidence": 0.83, "backend": "pocketsphinx"},
    {"type": "emotion", "data": EMOTION},
    {"type": "response", "text": "Prune them", "final": False},
    audio(0),
    audio(1),
    {"type": "sentence", "text": "Prune them in winter. ", "start": 0, "end": 22, "start_ms": 0, "end_ms": 36},
    {"type": "response", "text": "Prune them in winter. Yes.", "final": True},
    audio(2),
    {"type": "sentence", "text": "Yes.", "start": 22, "end": 26, "start_ms": 36, "end_ms": 54},
    {"type": "done", "response": {"timings": TIMINGS}},
)


def turn_started(after: int = 0, job_id: str = TURN) -> Json:
    return {"type": "turn_started", "job_id": job_id, "after": after, "session_id": SESSION}


def turn_done(status: str = "succeeded", job_id: str = TURN) -> Json:
    return {"type": "turn_done", "job_id": job_id, "status": status, "timings": TIMINGS}


def tell_log(line: Connected, after: int = 0, to: int = len(LOG)) -> None:
    for event in LOG[after:to]:
        line.tell(event)
        if event["type"] == "audio":
            line.sound(SOUNDS[event["index"]])


def answers(line: Connected) -> None:
    line.ready()
    assert line.question() == QUESTION.tobytes()
    line.tell({"type": "speech_started"}, {"type": "partial_transcript", "text": "how do"}, {"type": "speech_ended"})
    line.tell(turn_started())
    tell_log(line)
    line.tell(turn_done())
    line.wait()


def goes_on(line: Connected) -> None:
    after = int(line.query["after"])
    line.ready()
    line.tell(turn_started(after))
    tell_log(line, after)
    line.tell(turn_done() if after < len(LOG) else {**turn_done(), "status": None, "timings": None})
    line.wait()


def written(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (OUTPUT_RATE, 1, 2)
        return file.readframes(file.getnframes())
