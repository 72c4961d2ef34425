"""Speech to text by Whisper (faster-whisper), from a local folder of CTranslate2 weights; nothing is fetched."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from config.errors import ModelUnavailable, Unavailable, Unusable
from workers.voice.decoders import Decoder, Decoders
from workers.voice.frames import Died
from workers.voice.ports import HEARING_RATE, Samples, Transcript

PARTIAL_EVERY_S = 1.0  # of sound, and of time
PARTIAL_MOST_S = 0.5  # a recogniser that takes longer for all of it tells no partial text
_NEEDED = ("model.bin", "config.json", "tokenizer.json")  # without the last the library would fetch one


class WhisperTranscriber:
    def __init__(self, folder: str | Path, decoders: int = 1) -> None:
        """`decoders`: utterances understood at a time, each with its share of the cores and weights of its own; the
        first is loaded now. Raises ModelUnavailable."""
        path = Path(folder).expanduser()
        self.name = f"whisper-{path.name}"
        threads = max(1, (os.cpu_count() or 1) // decoders)
        try:
            if not all((path / name).is_file() for name in _NEEDED):
                raise Died
            self._decoders = Decoders(["whisper", str(path.absolute()), str(threads)], decoders)
        except Died:
            raise ModelUnavailable(
                f"The recogniser {self.name} cannot be loaded: it is broken or not on this machine."
            ) from None

    def utterance(self, phrases: Sequence[str] = ()) -> WhisperUtterance:
        """Whisper can be told what to expect, but not kept from saying something else: phrases are refused."""
        if phrases:
            raise Unusable(f"The recogniser {self.name} cannot be held to given phrases.")
        return WhisperUtterance(self._decoders, self.name)

    def close(self) -> None:
        self._decoders.close()


class WhisperUtterance:
    """Keeps what was heard, and holds a decoder only while it is decoded."""

    def __init__(self, decoders: Decoders, name: str) -> None:
        self._decoders, self._name = decoders, name
        self._heard: list[Samples] = []
        self._told = ""
        self._samples = self._told_at = 0
        self._next_at = 0.0
        self._took_s = 0.0  # the last decoding
        self._is_over = False

    def feed(self, samples: Samples) -> str | None:
        if self._is_over:
            raise ValueError("the utterance is over")
        self._heard.append(samples)
        self._samples += len(samples)
        is_due = self._samples - self._told_at >= PARTIAL_EVERY_S * HEARING_RATE and time.monotonic() >= self._next_at
        if not is_due or self._took_s > PARTIAL_MOST_S:
            return None
        self._told_at, self._next_at = self._samples, time.monotonic() + PARTIAL_EVERY_S
        return self._partial()

    def _partial(self) -> str | None:
        """None, too, where nobody has the time: the end of another's utterance is worth more."""
        try:
            decoder = self._decoders.take(wait_s=0)
            found = self._decode(decoder) if decoder is not None else None
        except Died:
            return None  # `finish` says so
        if found is None or found[0] == self._told:
            return None
        self._told = found[0]
        return self._told

    def finish(self) -> Transcript:
        """Raises Unavailable."""
        for _ in range(2):
            try:
                decoder = self._decoders.take()
                if decoder is not None:
                    text, confidence = self._decode(decoder)
                    self.close()
                    return Transcript(text, confidence, self._name)
            except Died:
                continue
        raise Unavailable(f"The recogniser {self._name} ended unexpectedly, twice in one utterance.")

    def _decode(self, decoder: Decoder) -> tuple[str, float]:
        """All that was heard. The decoder goes back. Raises Died."""
        started = time.monotonic()
        try:
            decoder.begin()
            decoder.feed(np.concatenate([np.zeros(0, np.int16), *self._heard]))
            found = decoder.finish()
        except BaseException:
            decoder.close()
            self._decoders.lost()
            raise
        self._took_s = time.monotonic() - started
        self._decoders.give_back(decoder)
        return found

    def close(self) -> None:
        self._is_over = True
        self._heard.clear()
