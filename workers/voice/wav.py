"""WAV files: sound without a codec, one channel of 16 bits."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np

from config.errors import Unusable
from workers.voice.ports import Samples

_ENDLESS = 0xFFFF_FFFF
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
# A sample's width in bytes → how it is stored; one of 8 bits has no sign.
_NONE = "That is no WAV file of plain samples."
_TYPES = {1: "u1", 2: "<i2", 4: "<i4"}


def wav_header(rate: int, samples: int | None = None) -> bytes:
    """What stands before the samples; None where nobody knows yet how many come."""
    size = _ENDLESS if samples is None else min(2 * samples, _ENDLESS)
    return _HEADER.pack(
        b"RIFF",
        min(size + _HEADER.size - 8, _ENDLESS),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        2 * rate,
        2,
        16,
        b"data",
        size,
    )


def write_wav(samples: Samples, rate: int) -> bytes:
    return wav_header(rate, len(samples)) + samples.astype("<i2", copy=False).tobytes()


def read_wav(source: Path | bytes) -> tuple[Samples, int]:
    """Samples and their rate, of plain PCM: channels are put together, 16 bits are kept of each sample. Of a file that
    is cut, what there is. Raises Unusable."""
    try:
        with wave.open(str(source) if isinstance(source, Path) else io.BytesIO(source), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            there = source.stat().st_size if isinstance(source, Path) else len(source)
            raw = file.readframes(min(file.getnframes(), there // (channels * width) + 1))  # a header may say anything
    except (wave.Error, EOFError, OSError, RuntimeError, ArithmeticError, struct.error) as error:
        raise Unusable(_NONE) from error
    if rate <= 0 or channels <= 0 or width not in (1, 2, 3, 4):
        raise Unusable(_NONE)
    found = _sixteen_bits(raw[: len(raw) - len(raw) % (width * channels)], width).reshape(-1, channels)
    if channels == 1:
        return found[:, 0], rate
    return found.mean(axis=1, dtype=np.float32).round().astype(np.int16), rate


def _sixteen_bits(raw: bytes, width: int) -> Samples:
    if width == 3:  # the upper two bytes of each
        return np.frombuffer(raw, np.uint8).reshape(-1, 3)[:, 1:].copy().view("<i2")[:, 0]
    found = np.frombuffer(raw, _TYPES[width])
    if width == 1:
        return (found.astype(np.int16) - 128) << 8
    return found if width == 2 else (found >> 16).astype(np.int16)
