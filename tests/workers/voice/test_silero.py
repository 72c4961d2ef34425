"""Speech is told from silence and noise; streams are apart from each other."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from tests import factories
from tests.workers.voice.spoken import noise, say, silence, together
from workers.voice.endpoint import Endpointer, SpeechEnded
from workers.voice.ports import HEARING_RATE, Samples
from workers.voice.silero import SileroVoiceActivity

WINDOW = SileroVoiceActivity.window_samples


@pytest.fixture(scope="module")
def sentence() -> Samples:
    (spoken,) = say("I would like to book a table for two on Friday evening.")
    return spoken


def judged(silero: SileroVoiceActivity, samples: Samples) -> list[float]:
    stream = silero.stream()
    return [stream.probability(samples[at : at + WINDOW]) for at in range(0, len(samples) - WINDOW + 1, WINDOW)]


def test_speech_is_likely_and_all_else_is_not(silero: SileroVoiceActivity, sentence: Samples) -> None:
    assert np.mean(np.array(judged(silero, sentence)) > 0.5) > 0.8
    for other in (silence(2), noise(2, -20), noise(2, -50)):
        assert np.mean(np.array(judged(silero, other)) > 0.5) < 0.05


@pytest.mark.parametrize("floor_db", [None, -40.0])
def test_the_ends_of_a_sentence_are_found(
    silero: SileroVoiceActivity, sentence: Samples, floor_db: float | None
) -> None:
    sound = together(silence(1), sentence, silence(1.5))
    if floor_db is not None:
        sound = np.clip(sound.astype(int) + noise(len(sound) / HEARING_RATE, floor_db), -32768, 32767).astype(np.int16)
    endpointer = Endpointer(WINDOW, pause_ms=600, min_speech_ms=160, max_utterance_s=60)
    events = [event for probability in judged(silero, sound) for event in endpointer.feed(probability)]
    (ended,) = [event for event in events if isinstance(event, SpeechEnded)]
    spoken_to = HEARING_RATE + len(sentence)
    assert 0.5 * HEARING_RATE < ended.start <= HEARING_RATE
    assert spoken_to < ended.end < spoken_to + 0.8 * HEARING_RATE


def test_streams_are_apart_and_forget(silero: SileroVoiceActivity, sentence: Samples) -> None:
    alone = judged(silero, sentence)
    streams = [silero.stream() for _ in range(3)]
    for at in range(0, 20 * WINDOW, WINDOW):
        window = sentence[at : at + WINDOW]
        assert streams[0].probability(window) == alone[at // WINDOW]
        streams[1].probability(noise(0.032, -20)[:WINDOW])
    streams[1].reset()
    assert streams[1].probability(sentence[:WINDOW]) == alone[0] == streams[2].probability(sentence[:WINDOW])


def test_threads_share_one(silero: SileroVoiceActivity, sentence: Samples) -> None:
    alone = judged(silero, sentence)
    assert factories.at_once(*[lambda: judged(silero, sentence)] * 4) == [alone] * 4


def test_a_hundred_lines_cost_little(silero: SileroVoiceActivity, sentence: Samples) -> None:
    """Measured: 130 µs a window, so that a hundred lines take 0.4 of a core."""
    streams = [silero.stream() for _ in range(100)]
    started = time.thread_time()
    for at in (0, WINDOW, 2 * WINDOW):
        for stream in streams:
            stream.probability(sentence[at : at + WINDOW])
    assert (time.thread_time() - started) / 300 < 0.0015


def test_torch_is_not_loaded() -> None:
    """Importing silero_vad would, and set it to one thread."""
    told = "from workers.voice.silero import *; import sys; SileroVoiceActivity(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False, timeout=60).returncode == 0
