"""Speech to text by pocketsphinx and the English model that comes with it: no download, and twice to four times the
errors of Whisper. Of a few given phrases it is about always right."""

from __future__ import annotations

import re
from collections.abc import Sequence

from config.errors import ModelUnavailable, Unavailable, Unusable
from workers.voice.decoders import Decoder, Decoders
from workers.voice.frames import Died
from workers.voice.ports import HEARING_RATE, Samples, Transcript

NAME = "pocketsphinx"
MAX_PHRASES, MAX_WORDS = 1_000, 10_000  # of a closed grammar, in all
_NAMED = 10  # unknown words in a message
_PIECE = HEARING_RATE  # what a decoder is given at a time: it answers within a second or so
_FIRST_PERSON = re.compile(r"\bi(?=$|\s|')")
_IN_WORDS = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")


class SphinxTranscriber:
    name = NAME

    def __init__(self, decoders: int = 1) -> None:
        """`decoders`: utterances heard at a time, 100 MB each. The first is loaded now. Raises ModelUnavailable."""
        try:
            self._decoders = Decoders(["sphinx"], decoders)
        except Died:
            raise ModelUnavailable("The recogniser pocketsphinx cannot be started.") from None

    def utterance(self, phrases: Sequence[str] = ()) -> SphinxUtterance:
        """Raises Unusable, Unavailable."""
        return SphinxUtterance(self._decoders, _words(phrases))

    def close(self) -> None:
        self._decoders.close()


class SphinxUtterance:
    """Holds a decoder from its first moment on. Where that dies, another hears all from the start."""

    def __init__(self, decoders: Decoders, phrases: dict[tuple[str, ...], str]) -> None:
        self._decoders, self._phrases = decoders, phrases
        self._heard: list[Samples] = []
        self._partial = ""
        self._deaths = 0
        self._decoder: Decoder | None = None
        self._begin()

    def feed(self, samples: Samples) -> str | None:
        """Raises Unavailable, as does `finish`."""
        told = None
        for start in range(0, len(samples), _PIECE):
            piece = samples[start : start + _PIECE]
            self._heard.append(piece)
            try:
                told = _next(self._listening().feed(piece), told)
            except Died:
                told = _next(self._again(), told)
        if told is None or (text := _as_written(told)) == self._partial:
            return None
        self._partial = text
        return text

    def finish(self) -> Transcript:
        while True:
            try:
                text, confidence = self._listening().finish()
                break
            except Died:
                self._again()
        self._heard.clear()
        self.close()
        if self._phrases:
            text = self._phrases.get(tuple(text.split()), "")  # half a phrase is none
            return Transcript(text, confidence if text else 0.0, NAME)
        return Transcript(_as_written(text), confidence, NAME)

    def close(self) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            self._decoders.give_back(decoder)

    def _listening(self) -> Decoder:
        if self._decoder is None:
            raise ValueError("the utterance is over")
        return self._decoder

    def _begin(self) -> None:
        """Raises Unusable, Unavailable."""
        while self._decoder is None:
            try:
                self._decoder = self._decoders.take()
                if self._decoder is not None and (unknown := self._decoder.begin(list(self._phrases))):
                    self.close()
                    raise Unusable(_not_known(unknown))
            except Died:
                self._died()

    def _again(self) -> str | None:
        """What another decoder makes of all that was heard."""
        told = None
        while True:
            self._died()
            self._begin()
            try:
                for piece in self._heard:
                    told = _next(self._listening().feed(piece), told)
                return told
            except Died:
                continue

    def _died(self) -> None:
        if self._decoder is not None:
            self._decoder = None
            self._decoders.lost()
        self._deaths += 1
        if self._deaths > 1:
            raise Unavailable("The recogniser pocketsphinx ended unexpectedly, twice in one utterance.")


def _next(told: str | None, before: str | None) -> str | None:
    return before if told is None else told


def _words(phrases: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Each phrase by its words as the dictionary writes them. Raises Unusable."""
    if len(phrases) > MAX_PHRASES:
        raise Unusable(f"At most {MAX_PHRASES} phrases can be listened for, not {len(phrases)}.")
    found: dict[tuple[str, ...], str] = {}
    for phrase in phrases:
        words = tuple(word.lower().replace("’", "'") for word in _IN_WORDS.findall(phrase))
        if not words:
            raise Unusable("A phrase without a word cannot be listened for.")
        found.setdefault(words, phrase)
    if sum(map(len, found)) > MAX_WORDS:
        raise Unusable(f"At most {MAX_WORDS} words of phrases can be listened for.")
    return found


def _not_known(unknown: Sequence[str]) -> str:
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    named = ", ".join(f"“{word[:40]}”" for word in unknown[:_NAMED])
    return f"The recogniser pocketsphinx knows no such words as {named}{more}."


def _as_written(text: str) -> str:
    return _FIRST_PERSON.sub("I", text)
