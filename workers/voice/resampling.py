"""From one rate to another: a stream of bytes as a client sends it, and whole pieces."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from workers.voice.ports import HEARING_RATE, Samples


class PcmReader:
    """Bytes of 16-bit little-endian mono in pieces of any length, also odd ones ─▶ samples at HEARING_RATE."""

    def __init__(self, rate: int) -> None:
        self._odd = b""
        self._stream = None if rate == HEARING_RATE else soxr.ResampleStream(rate, HEARING_RATE, 1)

    def feed(self, data: bytes) -> Samples:
        data = self._odd + data
        whole = len(data) & ~1
        self._odd = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").astype(np.int16)
        if self._stream is None or not samples.size:
            return samples
        # Of whole numbers it would make others each time, as it adds noise where it rounds.
        return _rounded(self._stream.resample_chunk(samples.astype(np.float32)))


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """A piece that stands for itself."""
    if rate == wanted or not samples.size:
        return samples
    return _rounded(soxr.resample(samples.astype(np.float32), rate, wanted))


def _rounded(samples: NDArray[np.float32]) -> Samples:
    return samples.round().clip(-32_768, 32_767).astype(np.int16)
