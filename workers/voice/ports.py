"""What tasks ask of the voice workers: hearing, understanding and speaking.

Samples are mono: 16-bit integers where audio is carried, at the rate that is named beside them; whoever listens
(VoiceActivity, Transcriber, SpeechEmotion) is given 16 kHz.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

HEARING_RATE = 16_000  # samples a second, of everything that listens

Samples = NDArray[np.int16]  # shape (n,)


# --- is somebody speaking? --------------------------------------------------------------------------------------------


class ActivityStream(Protocol):
    """One speaker's audio, in order."""

    def probability(self, window: Samples) -> float:
        """That the `window_samples` given now hold speech, 0..1."""
        ...

    def reset(self) -> None:
        """Forget what was heard: another utterance begins."""
        ...


class VoiceActivity(Protocol):
    """Tells speech from everything else. Streams may be used from several threads, each from one at a time."""

    name: str
    window_samples: int  # of each decision, at HEARING_RATE

    def stream(self) -> ActivityStream: ...


# --- what is being said? ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transcript:
    """`confidence` 0..1, as sure as the backend is able to be; `text` is empty where no words were heard."""

    text: str
    confidence: float
    backend: str


class Utterance(Protocol):
    """One utterance while it is being heard. For one thread; close it whatever happens."""

    def feed(self, samples: Samples) -> str | None:
        """Hear more. The words so far where they have changed, None where not (or where the backend tells none)."""
        ...

    def finish(self) -> Transcript:
        """All was heard: what was said."""
        ...

    def close(self) -> None:
        """Give back what this utterance holds; harmless twice and after `finish`."""
        ...


class Transcriber(Protocol):
    """Speech to text. Thread-safe."""

    name: str

    def utterance(self, phrases: Sequence[str] = ()) -> Utterance:
        """`phrases`: nothing else can be said (a closed grammar), where the backend is able to. Waits while all of its
        decoders listen to others. Raises config.errors.Unusable for phrases that cannot be had."""
        ...


# --- how does it sound? -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prosody:
    """How something was said, apart from the words. `arousal` -1 (slow, quiet, flat) .. 1 (fast, loud, lively)."""

    arousal: float
    confidence: float  # 0..1: of short or noisy speech it is low
    pitch_hz: float | None  # median; None where no voice was found
    loudness_db: float  # of the speech, below full scale
    syllables_per_s: float
    backend: str


class SpeechEmotion(Protocol):
    """The feeling in a voice. Thread-safe."""

    name: str

    def hear(self, samples: Samples) -> Prosody:
        """Of one utterance."""
        ...


# --- saying it --------------------------------------------------------------------------------------------------------


class Speaker(Protocol):
    """Text to speech. Thread-safe: callers take turns, a sentence each."""

    name: str
    sample_rate: int  # of what `speak` yields
    voices: tuple[str, ...]  # the first is the one that speaks when none is asked for

    def speak(self, text: str, voice: str | None = None, speed: float = 1.0) -> Iterator[Samples]:
        """Audio of `text`, in pieces as they are ready. Close the iterator to stop early. `speed` 0.5..2.

        Raises config.errors.Unusable for a voice it has not, Unavailable where its process died twice on this text.
        """
        ...

    def close(self) -> None: ...
