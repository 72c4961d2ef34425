"""Where utterances begin and end. Pure: probabilities of speech in, one per window, and samples counted from the line's
first; the same probabilities from the same window on give the same utterances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workers.voice.ports import HEARING_RATE

START, STOP = 0.5, 0.35  # probability above which speech begins, and below which a pause does
REACH_BACK_MS = 300  # of sound before the first window that was speech: soft beginnings


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """`start`: the utterance's first sample."""

    start: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """Of the utterance that started last: samples `start` to `end` (behind its last). `speech_end`: behind the last
    that was speech; what follows it is the pause."""

    start: int
    end: int
    speech_end: int
    reason: Literal["pause", "max_length", "forced"]


Event = SpeechStarted | SpeechEnded


class Endpointer:
    def __init__(self, window_samples: int, *, pause_ms: int, min_speech_ms: int, max_utterance_s: float) -> None:
        """Speech shorter than `min_speech_ms` is a click, and no utterance."""
        self._window = window_samples
        self._pause = _samples(pause_ms)
        self._min_speech = _samples(min_speech_ms)
        self._max = int(max_utterance_s * HEARING_RATE)
        self._at = 0  # samples that were judged
        self._free_from = 0  # no utterance reaches back behind the one before
        self._speech_from: int | None = None  # where speech began that may become an utterance
        self._start: int | None = None  # of the utterance
        self._speech_to = 0  # behind the last window that was speech

    @property
    def is_speaking(self) -> bool:
        return self._start is not None

    def feed(self, probability: float) -> list[Event]:
        """The next window's."""
        begin, self._at = self._at, self._at + self._window
        if probability >= (START if self._speech_from is None else STOP):
            if self._speech_from is None:
                self._speech_from = begin
            self._speech_to = self._at
        return self._started() + self._ended()

    def _started(self) -> list[Event]:
        if self._start is not None or self._speech_from is None:
            return []
        if self._speech_to - self._speech_from >= self._min_speech:
            self._start = max(self._free_from, self._speech_from - _samples(REACH_BACK_MS))
            return [SpeechStarted(self._start)]
        if self._at - self._speech_to >= self._min_speech:
            self._speech_from = None  # a click
        return []

    def _ended(self) -> list[Event]:
        if self._start is None:
            return []
        if self._at - self._speech_to >= self._pause:
            return self._end("pause")
        return self._end("max_length") if self._at - self._start >= self._max else []

    def force_end(self) -> list[Event]:
        """Nothing more belongs to the utterance, if there is one."""
        if self._start is not None:
            return self._end("forced")
        self._speech_from = None
        return []

    def _end(self, reason: Literal["pause", "max_length", "forced"]) -> list[Event]:
        assert self._start is not None
        start, self._start, self._speech_from = self._start, None, None
        self._free_from = self._at
        return [SpeechEnded(start, self._at, self._speech_to, reason)]


def _samples(ms: int) -> int:
    return ms * HEARING_RATE // 1000
