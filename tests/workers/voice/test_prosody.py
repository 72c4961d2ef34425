"""How stirred up a voice is: in order, never more sure than it may be, and quick."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from tests.workers.voice.spoken import Style, noise, say, silence
from workers.voice.ports import HEARING_RATE, Prosody, Samples
from workers.voice.prosody import MOST_SURE, ProsodyEmotion

TEXT = "The train leaves the station at half past seven and arrives before noon."
SLOW, USUAL, FAST = Style(110, 25, 20, 40), Style(), Style(240, 80, 90, 190)
VOICES = ("en-us", "en-us+f3", "en-us+m3")
emotion = ProsodyEmotion()


def in_voice(voice: str) -> list[Samples]:
    return say(*[(TEXT, replace(style, voice=voice)) for style in (SLOW, USUAL, FAST)])


@pytest.fixture(scope="module")
def usual() -> Samples:
    (sound,) = say(TEXT)
    return sound


@pytest.mark.parametrize("voice", VOICES)
def test_slow_and_quiet_is_calmer_than_fast_and_loud(voice: str) -> None:
    slow, usual, fast = (emotion.hear(sound) for sound in in_voice(voice))
    assert slow.arousal < -0.5 < usual.arousal < fast.arousal > 0.5
    assert -0.5 < usual.arousal < 0.5
    assert slow.syllables_per_s < usual.syllables_per_s < fast.syllables_per_s
    assert slow.loudness_db < usual.loudness_db < fast.loudness_db
    assert slow.pitch_hz is not None
    assert usual.pitch_hz is not None
    assert fast.pitch_hz is not None
    assert slow.pitch_hz < usual.pitch_hz < fast.pitch_hz
    assert all(0.5 < heard.confidence <= MOST_SURE for heard in (slow, usual, fast))


def test_a_womans_usual_voice_is_about_as_calm_as_a_mans() -> None:
    calm = [emotion.hear(sound).arousal for (_, sound, _) in map(in_voice, VOICES)]
    assert max(calm) - min(calm) < 0.5


@pytest.mark.parametrize("hz", [80, 125, 210, 330, 420])
def test_the_pitch_is_the_voices(hz: int) -> None:
    """A buzz that swells and falls four times a second."""
    at = np.arange(2 * HEARING_RATE) / HEARING_RATE
    buzz = sum(np.sin(2 * np.pi * hz * n * at) / n for n in range(1, 12)) * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * at))
    heard = emotion.hear((buzz * 5000).astype(np.int16))
    assert heard.pitch_hz == pytest.approx(hz, rel=0.02)
    assert heard.syllables_per_s == pytest.approx(4, abs=0.6)


@pytest.mark.parametrize("sound", [silence(2), silence(0), silence(0.01), noise(3), noise(3, -60), noise(0.05)])
def test_where_nobody_speaks_nothing_is_claimed(sound: Samples) -> None:
    heard = emotion.hear(sound)
    assert (heard.arousal, heard.confidence, heard.pitch_hz) == (0.0, 0.0, None)


def test_a_steady_tone_is_no_speech() -> None:
    assert emotion.hear((8000 * np.sin(np.arange(48_000) / 12)).astype(np.int16)).confidence < 0.05


def test_of_short_or_noisy_speech_it_is_less_sure(usual: Samples) -> None:
    whole = emotion.hear(usual).confidence
    assert emotion.hear(usual[8_000:8_800]).confidence < 0.1  # 50 ms
    assert emotion.hear(usual[: HEARING_RATE // 2]).confidence < 0.6 * whole
    noisy = np.clip(usual.astype(int) + noise(len(usual) / HEARING_RATE, -26), -32_768, 32_767).astype(np.int16)
    assert emotion.hear(noisy).confidence < 0.8 * whole


def test_a_minute_takes_no_long_time(usual: Samples) -> None:
    """Measured: 0.2 s, RTF 0.004."""
    minute = np.resize(usual, 60 * HEARING_RATE)
    started = time.thread_time()
    heard = emotion.hear(minute)
    assert time.thread_time() - started < 60 * 0.02
    assert heard.pitch_hz == pytest.approx(emotion.hear(usual).pitch_hz, rel=0.03)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    some.arrays(np.int16, st.integers(0, 4_000))
    | some.arrays(np.int16, 2_000, elements=st.sampled_from([-32768, 32767]))
)
def test_any_sound(sound: Samples) -> None:
    heard: Prosody = emotion.hear(sound)
    numbers = (heard.arousal, heard.confidence, heard.loudness_db, heard.syllables_per_s, heard.pitch_hz or 0.0)
    assert all(type(number) is float and math.isfinite(number) for number in numbers)
    assert -1 <= heard.arousal <= 1
    assert 0 <= heard.confidence <= MOST_SURE
    assert heard.loudness_db <= 0.1
