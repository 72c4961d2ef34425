"""Kinds `transcribe` and `speak`: a recording becomes text, a text becomes a recording. Both are kept piece by piece:
a later attempt goes on behind what is done.

    file ─▶ 16 kHz ─▶ utterances ─▶ words, one `item` each            text ─▶ sentences ─▶ sound ─▶ WAV
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any

import numpy as np
import orjson

from config.errors import NotFound, TooLarge, Unusable
from config.queues import Kind
from config.settings import MIB, get_settings
from storage import blobs
from storage.events import NewEvent
from tasks.base import job
from tasks.checkpoints import Checkpoint
from tasks.run import JobRun, Outcome
from tasks.utterances import Said, Utterances
from workers.voice import house
from workers.voice.audio_files import AudioFile
from workers.voice.ports import HEARING_RATE, Samples, Transcript
from workers.voice.resampling import resample
from workers.voice.sentences import SentenceSplitter
from workers.voice.spoken_text import spoken_text
from workers.voice.wav import wav_header

READ_S = 600.0  # for the sound of a file, at hundreds of times the speed of who made it
TELL_S = 30.0  # of sound without a word, between two tellings of how far it is
FEED = HEARING_RATE // 2  # samples between two looks whether it is still wanted
# A checkpoint is written whole: the longer it is the rarer, so that a killed attempt loses a fiftieth at most.
KEEP_EVERY = 50
SAVE_S = 2.0  # between two savings of what was spoken
_MAX_BYTES = 4096 * MIB
_NUMBERS = ("job_id", "sequence_number")


# --- a recording becomes text -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Segment:
    start_ms: int
    end_ms: int
    text: str
    confidence: float

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@job(Kind.TRANSCRIBE)
def transcribe(run: JobRun) -> Outcome:
    """{blob, phrases?}"""
    return Transcription(run).make()


class Transcription:
    def __init__(self, run: JobRun) -> None:
        self._run, self._kept = run, Checkpoint(run)
        self._file = blobs.path(run.input["blob"])
        self._phrases: list[str] = run.input.get("phrases", [])
        self._segments = [Segment(*one) for one in self._kept.values.get("segments", ())]
        self._heard: int = self._kept.values.get("heard", 0)  # samples that are done with
        self._backend: str = self._kept.values.get("backend", "")
        self._unsaved = 0  # utterances
        self._told = 0  # segments

    def make(self) -> Outcome:
        self._recall()
        seconds, problem = self._measured()
        for segment in self._segments[self._told :]:
            self._tell(segment)
        self._backend = self._backend or house.transcriber().name
        said = Utterances(house.voice_activity(), get_settings(), self._heard)
        with closing(_behind(self._sound(seconds), self._heard)) as sound:
            for piece in sound:
                for one in said.hear(piece):
                    self._understand(one)
                self._progress(said.position, seconds)
        for one in said.end(round(seconds * HEARING_RATE)):
            self._understand(one)
        self._run.progress(round(seconds), round(seconds), "seconds", "transcribing")
        return Outcome(self._result(seconds, problem))

    def _recall(self) -> None:
        """What earlier attempts told is not told again; some of it may not be kept, and is found again as it was."""
        if self._run.attempt == 1:
            return
        for event in self._run.logged():
            if event.type == "reset":
                self._run.lasting.clear()
            elif event.type == "item":
                fields = orjson.loads(event.json)
                self._run.lasting.append(NewEvent({key: fields[key] for key in fields if key not in _NUMBERS}))
        self._told = len(self._run.lasting)

    def _measured(self) -> tuple[float, str | None]:
        """How long it is, and what is wrong with it: found out once. Raises TooLarge, Unusable."""
        if "seconds" not in self._kept.values:
            self._run.emit("status", status="reading_file", message="Reading the file...")
            most = get_settings().voice_max_file_min
            sound = self._sound(most * 60)
            for _ in sound:
                pass
            if sound.seconds > most * 60:
                raise TooLarge(f"The recording is longer than {most:,} minutes.")
            with self._kept.keep(seconds=sound.seconds, problem=sound.problem):
                pass
        return self._kept.values["seconds"], self._kept.values["problem"]

    def _sound(self, most_s: float) -> AudioFile:
        """A little more than that, where there is more."""
        return AudioFile(self._file, max_audio_s=most_s + 1, limit_s=READ_S, check=self._run.check)

    # --- utterances

    def _understand(self, said: Said) -> None:
        heard = self._words(said.samples)
        self._backend, self._heard = heard.backend, said.through
        self._unsaved += 1
        if heard.text:
            start_ms, end_ms = (at * 1000 // HEARING_RATE for at in (said.start, said.end))
            segment = Segment(start_ms, end_ms, heard.text, round(heard.confidence, 3))
            self._segments.append(segment)
            if len(self._segments) > self._told:
                self._tell(segment)
        if self._unsaved > len(self._segments) // KEEP_EVERY:
            segments = [astuple(one) for one in self._segments]
            with self._kept.keep(segments=segments, heard=self._heard, backend=self._backend):
                pass
            self._unsaved = 0

    def _words(self, samples: Samples) -> Transcript:
        utterance = house.transcriber().utterance(self._phrases)
        with closing(utterance):
            for start in range(0, len(samples), FEED):
                self._run.check()
                utterance.feed(samples[start : start + FEED])
            self._run.check()
            return utterance.finish()

    def _tell(self, segment: Segment) -> None:
        self._run.tell("item", item_index=self._told, **segment.as_json())
        self._told += 1

    def _progress(self, position: int, seconds: float) -> None:
        done = position // HEARING_RATE
        before = (self._run.progress_now or {}).get("done", 0)
        if done - before >= TELL_S or (done > before and self._heard // HEARING_RATE > before):
            self._run.progress(done, round(seconds), "seconds", "transcribing")

    def _result(self, seconds: float, problem: str | None) -> dict[str, Any]:
        """`confidence`: by how long each was spoken; None where nothing was."""
        spoken_ms = sum(one.end_ms - one.start_ms for one in self._segments)
        sure = sum(one.confidence * (one.end_ms - one.start_ms) for one in self._segments)
        return {
            "text": " ".join(one.text for one in self._segments),
            "backend": self._backend,
            "confidence": round(sure / spoken_ms, 3) if spoken_ms else None,
            "duration_ms": round(seconds * 1000),
            "segments": [one.as_json() for one in self._segments],
            "problem": problem,
        }


def _behind(sound: AudioFile, start: int) -> Generator[Samples, None, None]:
    """What comes after `start` samples."""
    at = 0
    with closing(iter(sound)) as pieces:  # type: ignore[type-var]
        for piece in pieces:
            at += len(piece)
            if at > start:
                yield piece[-min(len(piece), at - start) :]


# --- a text becomes a recording ---------------------------------------------------------------------------------------


@job(Kind.SPEAK)
def speak(run: JobRun) -> Outcome:
    """{text, voice?, speed?, sample_rate?}"""
    return Recording(run).make()


class Recording:
    """What is spoken lies in blobs of bare samples until it is whole; later upkeep removes them."""

    def __init__(self, run: JobRun) -> None:
        self._run, self._kept = run, Checkpoint(run)
        self._speaker = house.speaker()
        self._voice: str = run.input.get("voice") or self._speaker.voices[0]
        self._rate: int = self._kept.values.get("rate") or run.input.get("sample_rate") or self._speaker.sample_rate
        self._done: int = self._kept.values.get("sentences", 0)
        self._parts: list[list[Any]] = self._kept.values.get("parts", [])  # [digest, bytes] of each
        self._unsaved: list[bytes] = []
        self._saved_at = time.monotonic()
        if not self._is_there():
            self._done, self._parts = 0, []

    def make(self) -> Outcome:
        sentences = list(_sentences(self._run.input["text"]))
        if not sentences:
            raise Unusable("There is nothing in this text that can be said.")
        for sentence in islice(sentences, self._done, None):
            self._unsaved.append(self._say(sentence))
            self._done += 1
            if time.monotonic() - self._saved_at >= SAVE_S:
                self._save()
            self._run.progress(self._done, len(sentences), "sentences", "speaking")
        return Outcome(self._result())

    def _is_there(self) -> bool:
        """What was spoken long ago is removed."""
        try:
            return all(blobs.path(digest).is_file() for digest, _ in self._parts)
        except NotFound:
            return False

    def _say(self, sentence: str) -> bytes:
        """Its samples, at the rate that is asked for."""
        ready = [np.zeros(0, np.int16)]
        with closing(self._speaker.speak(sentence, self._voice, self._run.input.get("speed", 1.0))) as speech:  # type: ignore[type-var]
            for samples in speech:
                self._run.check()
                ready.append(samples)
        self._run.check()
        return resample(np.concatenate(ready), self._speaker.sample_rate, self._rate).astype("<i2").tobytes()

    def _save(self) -> None:
        digest, size = blobs.store(_Blocks(iter(self._unsaved)), _MAX_BYTES)
        self._parts.append([digest, size])
        self._unsaved = []
        with self._kept.keep(sentences=self._done, parts=self._parts, rate=self._rate):
            pass
        self._saved_at = time.monotonic()

    def _result(self) -> dict[str, Any]:
        size = sum(size for _, size in self._parts) + sum(map(len, self._unsaved))
        digest, stored = blobs.store(_Blocks(self._whole(size // 2)), _MAX_BYTES)
        return {
            "blob": digest,
            "size": stored,
            "duration_ms": size // 2 * 1000 // self._rate,
            "sample_rate": self._rate,
            "backend": self._speaker.name,
            "voice": self._voice,
            "links": {"audio": f"/api/voice/speech/{self._run.id}"},
        }

    def _whole(self, samples: int) -> Iterator[bytes]:
        yield wav_header(self._rate, samples)
        for digest, _ in self._parts:
            with blobs.path(digest).open("rb") as part:
                while block := part.read(MIB):
                    yield block
        yield from self._unsaved


def _sentences(text: str) -> Iterator[str]:
    """What is to be said, a sentence each."""
    splitter = SentenceSplitter()
    for piece in splitter.feed(text) + splitter.flush():
        if not piece.is_code and (said := spoken_text(piece.text)):
            yield said


class _Blocks:
    """Bytes that are there by and by, to be read as a file is."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def read(self, _size: int = -1, /) -> bytes:
        return next((block for block in self._blocks if block), b"")
