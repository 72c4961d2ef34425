"""Sound without a codec, there and back."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import Unusable
from workers.voice.wav import read_wav, wav_header, write_wav

RAMP = np.arange(-32_768, 32_768, 97).astype(np.int16)


def plain(raw: bytes, width: int, channels: int = 1, rate: int = 8_000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(raw)
    return out.getvalue()


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "ü.wav"
    path.write_bytes(write_wav(RAMP, 22_050))
    for source in (path, path.read_bytes()):
        samples, rate = read_wav(source)
        assert rate == 22_050
        assert samples.dtype == np.int16
        assert np.array_equal(samples, RAMP)


def test_the_standard_library_reads_it_too() -> None:
    with wave.open(io.BytesIO(write_wav(RAMP, 16_000))) as file:
        assert file.getparams()[:4] == (1, 2, 16_000, len(RAMP))
        assert file.readframes(len(RAMP)) == RAMP.tobytes()
    assert len(read_wav(write_wav(RAMP[:0], 16_000))[0]) == 0


@pytest.mark.parametrize(
    ("width", "raw"),
    [
        (1, ((RAMP.astype(int) >> 8) + 128).astype(np.uint8).tobytes()),
        (3, b"".join(b"\x7f" + int(one).to_bytes(2, "little", signed=True) for one in RAMP)),
        (4, (RAMP.astype(np.int32) << 16).tobytes()),
    ],
)
def test_other_widths(width: int, raw: bytes) -> None:
    samples, _ = read_wav(plain(raw, width))
    assert np.array_equal(samples >> 8, RAMP >> 8)


def test_channels_are_put_together() -> None:
    stereo = np.stack([RAMP, np.full_like(RAMP, 100)], axis=1)
    samples, _ = read_wav(plain(stereo.tobytes(), 2, channels=2))
    assert np.abs(samples - (RAMP.astype(int) + 100) / 2).max() <= 0.5


def test_what_is_still_being_written_or_was_cut_is_read_as_far_as_it_goes() -> None:
    for head in (wav_header(8_000), wav_header(8_000, 1_000_000)):
        samples, rate = read_wav(head + RAMP.tobytes() + b"x")
        assert rate == 8_000
        assert np.array_equal(samples, RAMP)


@given(st.binary(max_size=120), st.integers(0, 60), st.binary(max_size=8))
def test_rubbish_is_told(noise: bytes, at: int, patch: bytes) -> None:
    whole = write_wav(RAMP[:20], 8_000)
    for source in (noise, b"RIFF" + noise, whole[:at], whole[:at] + patch + whole[at + len(patch) :]):
        try:
            samples, rate = read_wav(source)
        except Unusable:
            continue
        assert samples.ndim == 1
        assert rate > 0


def test_no_file_is_told_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(Unusable) as caught:
        read_wav(tmp_path / "none.wav")
    assert str(tmp_path) not in caught.value.detail
