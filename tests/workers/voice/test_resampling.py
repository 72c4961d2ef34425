"""From one rate to another, in pieces that a network makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from workers.voice.ports import HEARING_RATE, Samples
from workers.voice.resampling import PcmReader, resample

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> Samples:
    return (8_000 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.int16)


def loudest_hz(samples: Samples, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


def read(data: bytes, rate: int, sizes: list[int]) -> Samples:
    reader, found, at = PcmReader(rate), [np.zeros(0, np.int16)], 0
    for size in sizes:
        found.append(reader.feed(data[at : at + size]))
        at += size
    found.append(reader.feed(data[at:]))
    return np.concatenate(found)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_the_same_tone(rate: int) -> None:
    heard = read(tone(rate).tobytes(), rate, [333] * 50)
    assert heard.dtype == np.int16
    assert HEARING_RATE * 0.93 < len(heard) <= HEARING_RATE  # the filter keeps the last moments back
    assert loudest_hz(heard, HEARING_RATE) == pytest.approx(440, abs=2)
    assert 7_500 < np.abs(heard[2_000:-2_000].astype(int)).max() < 8_500


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_what_cannot_be_told_at_the_rate_is_left_out(rate: int) -> None:
    """Or it would be heard as another tone."""
    high = read(tone(48_000, hz=11_000).tobytes(), 48_000, [])
    assert np.abs(high[1_000:-1_000].astype(int)).max() < 100
    assert loudest_hz(resample(tone(rate, hz=1_000), rate, 24_000), 24_000) == pytest.approx(1_000, abs=3)


@hypothesis_settings(deadline=None)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 999), max_size=60), st.booleans())
def test_it_does_not_matter_how_it_was_cut(rate: int, sizes: list[int], is_odd: bool) -> None:
    """Two workers that are given the same bytes hear the same."""
    data = tone(rate, 0.3).tobytes() + b"\x01" * is_odd
    whole, cut = read(data, rate, []), read(data, rate, sizes)
    shorter = min(len(whole), len(cut))
    assert abs(len(whole) - len(cut)) < 1_000
    assert np.array_equal(whole[:shorter], cut[:shorter])


def test_an_odd_byte_waits_for_its_other_half() -> None:
    reader = PcmReader(HEARING_RATE)
    assert reader.feed(b"\x01").size == 0
    assert reader.feed(b"\x02\x03").tolist() == [0x0201]
    assert reader.feed(b"").size == 0
    assert reader.feed(b"\x04").tolist() == [0x0403]


@pytest.mark.parametrize("wanted", RATES)
@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000])
def test_a_whole_piece_keeps_its_length(rate: int, wanted: int) -> None:
    piece = resample(tone(rate), rate, wanted)
    assert piece.dtype == np.int16
    assert len(piece) == pytest.approx(wanted, abs=2)
    assert loudest_hz(piece, wanted) == pytest.approx(440, abs=2)


def test_of_nothing_it_makes_nothing() -> None:
    assert resample(np.zeros(0, np.int16), 24_000, 16_000).size == 0
    assert PcmReader(48_000).feed(b"\x00").size == 0
