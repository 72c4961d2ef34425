"""Understands speech, in a process of its own: pocketsphinx lets no other thread run while it decodes, and the FFmpeg
that faster-whisper loads is built with parts under the GPL.

    python -I transcriber_child.py sphinx | whisper FOLDER THREADS

Standard input and output: frames, each a letter, a length in four bytes (big-endian) and so many bytes. To "b" (an
utterance begins: {"phrases": [[word, …], …]}), "s" (samples: 16 kHz, 16 bits, little-endian) and "f" (it is all) the
answer is one "r": {"text": … | null}, behind "f" with {"confidence"}; {"unknown": [word, …]} refuses phrases. The first
"r" comes when all is loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

_RATE = 16_000
_BYTES_PER_S = 2 * _RATE
_FRAME = _RATE // 100  # samples of what the decoder looks at, 10 ms


class Backend(Protocol):
    """Each answers what is to be told."""

    def begin(self, phrases: list[list[str]]) -> dict[str, Any]: ...

    def feed(self, samples: bytes) -> dict[str, Any]: ...

    def finish(self) -> dict[str, Any]: ...


# --- pocketsphinx -----------------------------------------------------------------------------------------------------


class Sphinx:
    # The decoder subtracts the mean spectrum, and at first knows only a guess at it: it looks so far ahead to measure
    # the speaker's.
    _AHEAD_S = 1.5
    # Its model was made from speech in rooms: where there is no sound at all between the words, as in synthetic or
    # gated speech, it gets twice as many wrong (0.63 against 0.33). So speech is brought to one level, and noise added
    # 28 dB below it. Less (60, 30: 0.37, 0.49), more (200: 0.35), white or deeper noise (a tilt of 0, 1: 0.45, 0.48)
    # does worse.
    _LEVEL, _MOST_GAIN, _HISS, _TILT = 3000.0, 30.0, 120.0, 0.5
    _LONG_WORD = 70  # frames; seldom is one longer
    _PHRASES = "phrases"

    def __init__(self) -> None:
        self._numpy = numpy = importlib.import_module("numpy")
        pocketsphinx = importlib.import_module("pocketsphinx")
        # A second pass over all words at the end costs a tenth of the utterance and finds no better ones. Of more than
        # so many thoughts at a time few are right, and they cost a quarter.
        self._decoder = pocketsphinx.Decoder(samprate=_RATE, loglevel="FATAL", fwdflat=False, maxhmmpf=10_000)
        self._usual_mean = self._decoder.get_cmn(False)
        self._free = self._decoder.current_search()
        self._hiss = self._rushing(numpy)
        self._is_open = self._is_closed_grammar = False

    def _rushing(self, numpy: Any) -> Any:
        """A second of it, the deeper the louder: white noise would be heard as an f."""
        spectrum = numpy.fft.rfft(numpy.random.default_rng(0).standard_normal(_RATE))
        noise = numpy.fft.irfft(spectrum / numpy.maximum(numpy.arange(len(spectrum)), 50) ** self._TILT)
        return (noise * (self._HISS / noise.std())).astype("float32")

    def begin(self, phrases: list[list[str]]) -> dict[str, Any]:
        self._leave()
        unknown = sorted({word for phrase in phrases for word in phrase if self._decoder.lookup_word(word) is None})
        if unknown:
            return {"unknown": unknown}
        if phrases:
            links, last = _grammar(phrases)
            grammar = self._decoder.create_fsg(self._PHRASES, 0, last, links)
            self._decoder.add_fsg(self._PHRASES, grammar)
            self._decoder.activate_search(self._PHRASES)
            self._is_closed_grammar = True
        self._early = bytearray()
        self._heard = bytearray()  # at the level that the decoder hears it, without the noise
        self._told = ""
        return {"text": None}

    def feed(self, samples: bytes) -> dict[str, Any]:
        if not self._is_open:
            missing = int(self._AHEAD_S * _BYTES_PER_S) - len(self._early)
            self._early += samples[:missing]
            if len(samples) < missing:
                return {"text": None}
            samples = samples[missing:]
            self._open()
        if samples:  # of nothing it makes an error
            self._decoder.process_raw(self._as_in_a_room(samples), False, False)
        text = _text(self._words())
        if text == self._told:
            return {"text": None}
        self._told = text
        return {"text": text}

    def finish(self) -> dict[str, Any]:
        if not self._is_open:
            if len(self._early) < _BYTES_PER_S // 10:  # no word is as short
                return {"text": "", "confidence": 0.0}
            self._open()
        self._decoder.end_utt()
        self._is_open = False
        words = self._words()
        return {"text": _text(words), "confidence": self._confidence(words)}

    def _open(self) -> None:
        """What was heard so far is measured, then it is listened to."""
        self._gain = self._measured_gain()
        early = self._as_in_a_room(bytes(self._early))
        self._early.clear()
        self._decoder.start_stream()  # forgets the noise of the utterance before
        self._decoder.set_cmn(self._usual_mean)
        self._decoder.start_utt()
        self._decoder.process_raw(early, True, False)
        mean = self._decoder.get_cmn(True)
        self._decoder.end_utt()
        self._decoder.start_stream()
        self._decoder.set_cmn(mean)
        self._decoder.start_utt()
        self._is_open = True
        self._decoder.process_raw(early, False, False)

    def _measured_gain(self) -> float:
        samples = self._numpy.frombuffer(self._early, "<i2")
        frames = samples[: len(samples) // 320 * 320].astype("float32").reshape(-1, 320)
        level = float(self._numpy.percentile(self._numpy.sqrt((frames**2).mean(axis=1)), 90))
        return min(self._MOST_GAIN, self._LEVEL / max(level, 1.0))

    def _as_in_a_room(self, samples: bytes) -> bytes:
        given = self._numpy.frombuffer(samples, "<i2").astype("float32") * self._gain
        at = len(self._heard) // 2 % _RATE
        self._heard += given.clip(-32_768, 32_767).astype("<i2").tobytes()
        given += self._numpy.resize(self._numpy.roll(self._hiss, -at), len(given))
        return bytes(given.clip(-32_768, 32_767).astype("<i2").tobytes())

    def _words(self) -> list[Any]:
        """Where each begins and ends, but for those that were heard in nothing else than our noise."""
        parts = self._decoder.seg() if self._decoder.hyp() is not None else None
        loud = self._loud()
        return [
            part
            for part in parts or ()
            if part.word[0] not in "<[+" and loud[part.start_frame : part.end_frame + 1].any()
        ]

    def _loud(self) -> Any:
        """Of each frame, whether there is more than our noise."""
        samples = self._numpy.frombuffer(bytes(self._heard), "<i2")
        frames = samples[: len(samples) // _FRAME * _FRAME].astype("float32").reshape(-1, _FRAME)
        return (frames**2).mean(axis=1) > self._HISS**2

    def _confidence(self, words: list[Any]) -> float:
        """How likely each word was beside its rivals. Noise has none, but its words are few and long; and of speech
        that is none of the phrases, much is left over."""
        if not words:
            return 0.0
        likely = sum(min(1.0, word.prob) for word in words) / len(words)
        frames = sum(word.end_frame + 1 - word.start_frame for word in words)
        few = 1.0 if self._is_closed_grammar else len(words) / (len(words) + 1)
        loud = self._loud()
        heard = sum(loud[word.start_frame : word.end_frame + 1].sum() for word in words) / loud.sum()
        return float(likely * few * min(1.0, self._LONG_WORD * len(words) / frames) * heard)

    def _leave(self) -> None:
        """Whatever the utterance before has left."""
        if self._is_open:
            self._decoder.end_utt()
            self._is_open = False
        if self._is_closed_grammar:
            self._decoder.activate_search(self._free)
            self._decoder.remove_search(self._PHRASES)
            self._is_closed_grammar = False


def _text(words: list[Any]) -> str:
    return " ".join(word.word.partition("(")[0] for word in words)  # (2): another way to say it


def _grammar(phrases: list[list[str]]) -> tuple[list[tuple[Any, ...]], int]:
    """Links of a network, (from, to, probability, word), and its last state. Beginnings are shared."""
    states: dict[tuple[str, ...], int] = {(): 0}
    links: list[tuple[Any, ...]] = []
    for phrase in phrases:
        for length in range(1, len(phrase) + 1):
            path = tuple(phrase[:length])
            if path not in states:
                states[path] = len(states)
                links.append((states[path[:-1]], states[path], 1.0, path[-1]))
    last = len(states)
    return links + [(state, last, 1.0) for state in sorted({states[tuple(phrase)] for phrase in phrases})], last


# --- Whisper ----------------------------------------------------------------------------------------------------------


class Whisper:
    _NO_SPEECH = 0.6  # above it, and unsure of the words, it has invented them
    _REPEATED = 2.4  # how far words that go round in circles can be compressed

    def __init__(self, folder: str, threads: str) -> None:
        self._numpy = importlib.import_module("numpy")
        on_gpu = importlib.import_module("ctranslate2").get_cuda_device_count() > 0
        self._beams = 5 if on_gpu else 1
        self._model = importlib.import_module("faster_whisper").WhisperModel(
            folder,
            device="cuda" if on_gpu else "cpu",
            compute_type="float16" if on_gpu else "int8",
            cpu_threads=int(threads),
            local_files_only=True,
        )
        self._heard = bytearray()

    def begin(self, phrases: list[list[str]]) -> dict[str, Any]:
        self._heard.clear()
        return {"text": None}

    def feed(self, samples: bytes) -> dict[str, Any]:
        self._heard += samples
        return {"text": None}

    def finish(self) -> dict[str, Any]:
        if len(self._heard) < _BYTES_PER_S // 10:
            return {"text": "", "confidence": 0.0}
        samples = self._numpy.frombuffer(bytes(self._heard), "<i2").astype("float32") / 32_768
        # Without speech it would invent some. A temperature above 0 would say something else each time.
        segments, _ = self._model.transcribe(
            samples, beam_size=self._beams, temperature=0.0, vad_filter=True, condition_on_previous_text=False
        )
        texts, sure, weights = [], 0.0, 0.0
        for one in segments:
            likely = math.exp(min(0.0, one.avg_logprob)) * (1 - one.no_speech_prob)
            if one.no_speech_prob > self._NO_SPEECH and one.avg_logprob < -1:
                continue
            if one.compression_ratio > self._REPEATED:
                likely *= 0.1
            texts.append(one.text.strip())
            weight = max(0.1, one.end - one.start)
            sure, weights = sure + weight * likely, weights + weight
        text = " ".join(text for text in texts if text)
        return {"text": text, "confidence": sure / weights if text else 0.0}


# --- the pipes --------------------------------------------------------------------------------------------------------


class Pipes:
    def __init__(self) -> None:
        # Libraries print; what they say there must not stand between the frames.
        self._out = os.dup(1)
        os.dup2(2, 1)

    def tell(self, said: dict[str, Any]) -> None:
        content = json.dumps(said).encode()
        left = memoryview(b"r" + struct.pack(">I", len(content)) + content)
        while left:
            left = left[os.write(self._out, left) :]

    def receive(self) -> tuple[bytes, bytes]:
        """Raises EOFError: nobody is there any more."""
        kind, length = struct.unpack(">cI", self._read(5))
        return kind, self._read(length)

    def _read(self, size: int) -> bytes:
        read = bytearray()
        while len(read) < size:
            block = os.read(0, size - len(read))
            if not block:
                raise EOFError
            read += block
        return bytes(read)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for who started us; then our input ends
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipes = Pipes()
    kinds: dict[str, Callable[..., Backend]] = {"sphinx": Sphinx, "whisper": Whisper}
    kind, *given = sys.argv[1:]
    backend = kinds[kind](*given)
    pipes.tell({})
    while True:
        asked, content = pipes.receive()
        if asked == b"b":
            pipes.tell(backend.begin(json.loads(content)["phrases"]))
        elif asked == b"s":
            pipes.tell(backend.feed(content))
        else:
            pipes.tell(backend.finish())


if __name__ == "__main__":
    with contextlib.suppress(EOFError, BrokenPipeError):
        main()
