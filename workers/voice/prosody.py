"""How somebody speaks, apart from the words: pitch, loudness and pace, and from those how stirred up the voice is.
Whether by joy or by anger cannot be told from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.voice.ports import HEARING_RATE, Prosody, Samples

Floats = NDArray[np.float32]

NAME = "prosody"
HOP, FRAME = HEARING_RATE // 100, HEARING_RATE // 25  # 10 and 40 ms
HOPS_PER_S = HEARING_RATE // HOP
BLOCK = 512  # frames whose pitch is found at a time: the spectra of a minute would take 100 MB
FFT = 2048  # longer than a frame and the longest period together
SHORTEST, LONGEST = HEARING_RATE // 450, HEARING_RATE // 65  # periods of voices, in samples
PERIODIC = 0.55  # how alike two periods of a voice are at least
FIRST_PEAK = 0.9  # of the best: two periods are as alike as one, and so the shorter counts
QUIET_DB, FAINT_DB = 30.0, -65.0  # below the loudest speech, and below full scale: no speech
STEADY_DB = 18.0  # between loud and faint moments; speech has more, hum and noise nearly none
SYLLABLE_DB = 2.0  # a syllable is louder by so much than the dips beside it
# Usual values and spreads of grown people's talk into a microphone. Pitch says least: a high voice is no stirred one.
RATE, LOUDNESS, PITCH, SPAN = (4.2, 1.1), (-22.0, 7.0), (math.log2(160), 0.55), (2.4, 1.4)
WEIGHTS = (0.45, 0.4, 0.15, 0.25)
ENOUGH_S = 0.8  # of voice; for as much again the doubt is halved twice
MOST_SURE = 0.8  # whose voice it is, and how far the microphone is, nobody knows


class ProsodyEmotion:
    name = NAME

    def hear(self, samples: Samples) -> Prosody:
        if len(samples) < FRAME:
            return _nothing()
        frames = _frames(samples)
        levels = np.concatenate([_levels(block) for block in _blocks(frames)])
        loudest, faintest = np.percentile(levels, [95, 5])
        is_speech = levels > max(loudest - QUIET_DB, FAINT_DB)
        if not is_speech.any():
            return _nothing()
        pitches, likeness = _pitches(frames, is_speech)
        is_voiced = is_speech & (likeness >= PERIODIC)
        loudness = 10 * math.log10(float(np.mean(10 ** (levels[is_speech] / 10))))
        syllables = _syllables(levels, is_voiced) / (int(is_speech.sum()) / HOPS_PER_S)
        voiced = pitches[is_voiced]
        if not voiced.size:
            return Prosody(0.0, 0.0, None, loudness, 0.0, NAME)
        measured = _Measured(voiced, loudness, syllables)
        sure = MOST_SURE * (1 - math.exp(-voiced.size / HOPS_PER_S / ENOUGH_S))
        sure *= min(1.0, float(loudest - faintest) / STEADY_DB) * min(1.0, 2 * is_voiced.sum() / is_speech.sum())
        return Prosody(measured.arousal, float(sure), float(np.median(voiced)), loudness, syllables, NAME)


@dataclass(frozen=True, slots=True)
class _Measured:
    pitches: Floats
    loudness: float
    syllables: float

    @property
    def arousal(self) -> float:
        octaves = np.log2(self.pitches)
        low, middle, high = np.percentile(octaves, [15, 50, 85])
        values = (self.syllables, self.loudness, float(middle), float(high - low) * 12 / 2)
        usual = (RATE, LOUDNESS, PITCH, SPAN)
        stirred = sum(
            weight * max(-2.5, min(2.5, (value - mean) / spread))
            for weight, value, (mean, spread) in zip(WEIGHTS, values, usual, strict=True)
        )
        return math.tanh(stirred)


def _nothing() -> Prosody:
    return Prosody(0.0, 0.0, None, -100.0, 0.0, NAME)


def _frames(samples: Samples) -> NDArray[np.int16]:
    """Shape (n, FRAME), each HOP later than the one before; a view."""
    return np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]


def _blocks(frames: NDArray[np.int16]) -> Iterator[Floats]:
    for start in range(0, len(frames), BLOCK):
        block = frames[start : start + BLOCK].astype(np.float32) / 32_768
        yield block - block.mean(axis=1, keepdims=True)


def _levels(block: Floats) -> Floats:
    """Of each frame, below full scale."""
    return np.asarray(10 * np.log10(np.mean(block**2, axis=1) + 1e-10), np.float32)


def _pitches(frames: NDArray[np.int16], wanted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Hz, and how alike (0..1) one period is to the next; 0 in frames that are not wanted."""
    pitches, likeness = np.zeros(len(frames), np.float32), np.zeros(len(frames), np.float32)
    window = np.hanning(FRAME).astype(np.float32)
    own = _autocorrelation(window[None])[0]
    places = np.flatnonzero(wanted)
    for start in range(0, len(places), BLOCK):
        at = places[start : start + BLOCK]
        alike = _autocorrelation(next(_blocks(frames[at])) * window)
        alike /= np.maximum(alike[:, :1], 1e-9) * (own / own[0])
        periods = _periods(alike)
        rows = np.arange(len(at))
        pitches[at], likeness[at] = HEARING_RATE / periods, np.clip(alike[rows, np.rint(periods).astype(int)], 0, 1)
    return pitches, likeness


def _autocorrelation(block: Floats) -> Floats:
    """For lags 0 to LONGEST + 1."""
    spectrum = np.fft.rfft(block, FFT)
    return np.fft.irfft(spectrum.real**2 + spectrum.imag**2, FFT)[:, : LONGEST + 2].astype(np.float32)


def _periods(alike: Floats) -> Floats:
    """The first lag, in samples and parts of one, at which a frame is about as like itself as it ever is."""
    inner, before, after = (alike[:, SHORTEST + by : LONGEST + 1 + by] for by in (0, -1, 1))
    is_peak = (inner >= before) & (inner > after)
    peaks = np.where(is_peak, inner, -1)
    first = np.argmax(peaks >= FIRST_PEAK * peaks.max(axis=1, keepdims=True), axis=1)
    rows = np.arange(len(alike))
    left, top, right = before[rows, first], inner[rows, first], after[rows, first]
    bend = left - 2 * top + right
    aside = np.where(is_peak[rows, first] & (bend < 0), (left - right) / np.minimum(2 * bend, -1e-9), 0)
    return np.asarray(SHORTEST + first + np.clip(aside, -0.5, 0.5), np.float32)


def _syllables(levels: Floats, is_voiced: NDArray[np.bool_]) -> int:
    """Moments that are louder than those beside them, where there is a voice."""
    from scipy.signal import find_peaks

    smooth = np.convolve(levels, np.hanning(9) / np.hanning(9).sum(), "same")
    peaks, _ = find_peaks(smooth, prominence=SYLLABLE_DB, distance=HOPS_PER_S // 12)
    return int(is_voiced[peaks].sum())
