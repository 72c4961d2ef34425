"""Where people speak in a recording: it is cut where they pause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from config.settings import Settings
from workers.voice.endpoint import Endpointer, Event, SpeechEnded, SpeechStarted
from workers.voice.ports import HEARING_RATE, Samples, VoiceActivity

MAX_UTTERANCE_S = 30.0  # what Whisper looks at; and who speaks meanwhile waits for no longer a one
KEEP_SILENCE_S = 1.0  # before speech begins; more than the endpointer reaches back


@dataclass(frozen=True, slots=True)
class Said:
    """`start`, `end` of the speech in samples of the whole; what comes behind `through`, its pause, is heard as if
    nothing had been before."""

    samples: Samples
    start: int
    end: int
    through: int


class Utterances:
    """`position`: samples that were listened to. Whatever the pieces, and wherever between two utterances it begins,
    the same ones are found."""

    def __init__(self, activity: VoiceActivity, settings: Settings, position: int) -> None:
        self._window, self._stream, self._settings = activity.window_samples, activity.stream(), settings
        self._sound: Samples = np.zeros(0, np.int16)
        self._origin = position  # what is counted below counts from here
        self._gone = self._looked_to = 0  # samples before `_sound`; samples that were judged
        self._is_speaking = False
        self._endpointer = self._listen_anew()

    @property
    def position(self) -> int:
        return self._origin + self._looked_to

    def hear(self, samples: Samples) -> Iterator[Said]:
        self._sound = np.concatenate([self._sound, samples])
        while self._gone + len(self._sound) - self._looked_to >= self._window:
            at = self._looked_to - self._gone
            self._looked_to += self._window
            probability = self._stream.probability(self._sound[at : at + self._window])
            yield from self._said(self._endpointer.feed(probability))
        if not self._is_speaking:
            spare = max(0, self._looked_to - self._gone - int(KEEP_SILENCE_S * HEARING_RATE))
            self._sound, self._gone = self._sound[spare:], self._gone + spare

    def end(self, length: int) -> Iterator[Said]:
        """Nothing more comes. `length`: samples of the whole."""
        rest = -(self._gone + len(self._sound) - self._looked_to) % self._window
        yield from self.hear(np.zeros(rest, np.int16))
        for said in self._said(self._endpointer.force_end()):
            yield replace(said, end=min(said.end, length))

    def _listen_anew(self) -> Endpointer:
        """As at the start of a recording."""
        self._stream.reset()
        return Endpointer(
            self._window,
            pause_ms=self._settings.voice_pause_ms,
            min_speech_ms=self._settings.voice_min_speech_ms,
            max_utterance_s=min(MAX_UTTERANCE_S, self._settings.voice_max_utterance_s),
        )

    def _said(self, events: list[Event]) -> Iterator[Said]:
        for event in events:
            if isinstance(event, SpeechStarted):
                self._is_speaking = True
            elif isinstance(event, SpeechEnded):
                yield self._cut(event)

    def _cut(self, event: SpeechEnded) -> Said:
        start, through = self._origin + event.start, self._origin + event.end
        pause = self._settings.voice_pause_ms * HEARING_RATE // 1000 if event.reason == "pause" else 0
        samples = self._sound[event.start - self._gone : event.end - self._gone]
        self._sound = self._sound[event.end - self._gone :]
        self._origin, self._gone, self._looked_to = through, 0, 0
        self._is_speaking, self._endpointer = False, self._listen_anew()
        return Said(samples, start, through - pause, through)
