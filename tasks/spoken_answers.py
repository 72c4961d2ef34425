"""An answer that is spoken while it is being written: what was told of it, what of that was heard, its sound."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np
import redis

from config.errors import BackchannelError
from config.logging import log
from config.settings import MIB, get_settings
from storage import blobs, voice_lines
from tasks.heard import Spoken
from tasks.run import JobRun
from workers.voice import house
from workers.voice.ports import Samples
from workers.voice.resampling import resample
from workers.voice.sentences import Piece
from workers.voice.spoken_text import spoken_text
from workers.voice.wav import write_wav

PIECE_S = 0.5  # of sound, in one event: short enough to begin with, long enough to be few
_MAX_BYTES = 1024 * MIB


class SpokenAnswer:
    """`rate`: samples a second of its sound. `since_speech`: ms since the person stopped speaking. `timings` is added
    to: tts_ms, first_audio_ms."""

    def __init__(
        self, run: JobRun, rate: int, options: dict[str, Any], timings: dict[str, int], since_speech: Callable[[], int]
    ) -> None:
        self._run, self._rate, self._options = run, rate, options
        self._timings, self._since_speech = timings, since_speech
        self._voice: str | None = options.get("voice") or get_settings().voice_name or None
        self.text = ""  # as far as it is written
        self.spoken_to = 0  # characters
        self.spoken: list[Spoken] = []
        self._sound: list[Samples] = []
        self._segments = 0
        self._ahead = 0  # samples of the next piece of text that an earlier attempt told
        self._is_mute = False
        self._sound_is_whole = True  # what an earlier attempt spoke may be gone
        self._responded: str | None = None  # as it was told to be final
        self._has_responded = False

    @property
    def ms(self) -> int:
        return self.spoken[-1].end_ms if self.spoken else 0

    def recall(self, kind: str, fields: dict[str, Any]) -> None:
        """An event of an earlier attempt."""
        if kind == "response":
            self._has_responded = True
            self._responded = fields["text"] if fields["final"] else None
        elif kind == "audio":
            self._segments = fields["index"] + 1
            self._ahead += fields["samples"]
            pcm = voice_lines.load_audio(self._run.id, fields["index"])
            self._sound_is_whole &= pcm is not None
            if pcm is not None:
                self._sound.append(np.frombuffer(pcm, np.int16))
        elif kind == "sentence":
            self.spoken.append(Spoken(**{name: fields[name] for name in ("start", "end", "start_ms", "end_ms")}))
            self.spoken_to = self.spoken[-1].end
            self._ahead = 0

    def respond(self, *, final: bool) -> None:
        """The seed's `response`: before the first sound, and again when the text is complete."""
        if final and self._responded != self.text:
            self._responded = self.text
            self._run.tell("response", text=self.text, final=True)
        elif not final and not self._has_responded:
            self._run.tell("response", text=self.text, final=False)
        self._has_responded = True

    def say(self, piece: Piece) -> None:
        """The next piece of the text: its sound, then the word that it was spoken. Of a block of code only that it is
        one is said."""
        if piece.end <= self.spoken_to:
            return  # by an earlier attempt
        start_ms, started = self.ms, time.monotonic()
        text = "" if piece.is_code else spoken_text(piece.text)
        samples, self._ahead = self._speak(text) if text and not self._is_mute else self._ahead, 0
        self._timings["tts_ms"] = self._timings.get("tts_ms", 0) + round((time.monotonic() - started) * 1000)
        end_ms = start_ms + samples * 1000 // self._rate
        self.spoken.append(Spoken(piece.start, piece.end, start_ms, end_ms))
        self.spoken_to = piece.end
        self._run.tell("sentence", text=piece.text, **asdict(self.spoken[-1]))

    def _speak(self, text: str) -> int:
        """Samples at the answer's rate, those that an earlier attempt told included. Where nobody speaks the answer is
        in writing only, and that is told once."""
        if self._segments == 0:
            self._run.emit("status", status="synthesizing_speech", message="Synthesizing speech...")
        samples = self._ahead
        try:
            speaker = house.speaker()
            sounds = speaker.speak(text, self._voice, self._options.get("speed", 1.0))
            for sound in _pieces(sounds, self._ahead * speaker.sample_rate // self._rate, speaker.sample_rate):
                samples += self._tell_sound(sound, speaker.sample_rate, speaker.name)
                self._run.check()
        except BackchannelError as error:
            self._is_mute = True
            log.warning("the answer is not spoken", reason=error.detail)
            self._run.emit("status", status="not_spoken", message=error.detail)
        return samples

    def _tell_sound(self, samples: Samples, rate: int, backend: str) -> int:
        """Returns its samples at the answer's rate."""
        at_rate = resample(samples, rate, self._rate)
        voice_lines.keep_audio(self._run.id, self._segments, at_rate.tobytes())
        if self._segments == 0:
            self._timings["first_audio_ms"] = self._since_speech()
        about = {"sample_rate": self._rate, "samples": len(at_rate), "duration_ms": len(at_rate) * 1000 // self._rate}
        self._run.tell("audio", index=self._segments, **about, backend=backend)
        self._segments += 1
        self._sound.append(at_rate)
        return len(at_rate)

    def keep_again(self) -> None:
        """An emptied Redis lost the sound as well."""
        if self._sound_is_whole:
            with suppress(redis.RedisError):
                for index, samples in enumerate(self._sound):
                    voice_lines.keep_audio(self._run.id, index, samples.tobytes())

    def store(self) -> tuple[str, int] | None:
        """(digest, bytes) of it as a WAV file; None where there is not all of it."""
        if not self._sound or not self._sound_is_whole:
            return None
        return blobs.store(io.BytesIO(write_wav(np.concatenate(self._sound), self._rate)), _MAX_BYTES)


def _pieces(sounds: Iterable[Samples], skip: int, rate: int) -> Iterator[Samples]:
    """Of PIECE_S at least, but for the last; without the first `skip` samples."""
    ready: list[Samples] = []
    for sound in sounds:
        rest = sound[skip:]
        skip -= len(sound) - len(rest)
        ready.append(rest)
        if sum(map(len, ready)) >= PIECE_S * rate:
            yield np.concatenate(ready)
            ready = []
    if sum(map(len, ready)):
        yield np.concatenate(ready)
