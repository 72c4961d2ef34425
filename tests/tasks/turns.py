"""Spoken turns for tests: a speaker whose sound is as long as its text, and replies that run beside their turn."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from config.queues import Kind
from storage import blobs
from storage.database import reading
from storage.jobs import TERMINAL
from storage.tables import Job
from storage.voice_lines import now_ms
from tasks.base import run_job
from tests import factories
from workers.voice import house
from workers.voice.ports import HEARING_RATE, Prosody, Samples
from workers.voice.wav import write_wav

MS_A_LETTER = 20
RATE = 8000


class ScriptedSpeaker:
    """A letter is 20 ms of its own number, so that what was said can be read from the sound."""

    name = "scripted"
    sample_rate = RATE
    voices = ("one",)

    def __init__(self) -> None:
        self.said: list[str] = []
        self.before: Callable[[str], None] = lambda _text: None
        self.at: Callable[[str, int], None] = lambda _text, _letter: None

    def speak(self, text: str, voice: str | None = None, speed: float = 1.0) -> Iterator[Samples]:
        self.before(text)
        self.said.append(text)
        for number, letter in enumerate(text):
            self.at(text, number)
            yield np.full(RATE * MS_A_LETTER // 1000, ord(letter) % 32768, np.int16)

    def close(self) -> None: ...


class FlatProsody:
    name = "flat"

    def hear(self, samples: Samples) -> Prosody:
        return Prosody(0.0, 0.0, None, -60.0, 0.0, self.name)


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> ScriptedSpeaker:
    scripted = ScriptedSpeaker()
    monkeypatch.setattr(house, "_parts", {"speaker": scripted, "speech_emotion": FlatProsody()})
    return scripted


def spoken_job(text: str = "What is the answer?", conversation_id: str | None = None, **given: Any) -> str:
    """The turn of an utterance that was understood as `text`."""
    conversation_id = conversation_id or factories.conversation()
    digest, size = blobs.store(io.BytesIO(write_wav(np.zeros(HEARING_RATE, np.int16), HEARING_RATE)), 10**6)
    body = {
        "line": "line",
        "through": "0-0",
        "blob": digest,
        "blob_size": size,
        "duration_ms": 1000,
        "ended_ms": now_ms(),
        "output_rate": RATE,
        "options": {"use_rag": False},
        "timings": {"vad_ms": 600, "stt_ms": 1},
        "transcript": {"text": text, "confidence": 0.9, "backend": "scripted"},
        **given,
    }
    serial = f"voice:{conversation_id}"
    return factories.job(Kind.VOICE, input=body, conversation_id=conversation_id, serial_key=serial)


@contextmanager
def replies_run() -> Iterator[None]:
    """As a generate worker would: each reply that is asked for is written by a thread beside."""
    over = threading.Event()

    def serve() -> None:
        while not over.wait(0.01):
            for row in factories.all_jobs(Kind.VOICE_REPLY):
                if row.status == "queued":
                    run_job(row.id)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def reply_of() -> Job:
    (row,) = factories.all_jobs(Kind.VOICE_REPLY)
    return row


def has_ended(job_id: str) -> bool:
    with reading() as session:
        row = session.get(Job, job_id)
        return row is not None and row.status in TERMINAL
