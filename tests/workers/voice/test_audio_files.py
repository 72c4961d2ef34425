"""The sound of files that people send: of every kind, cut, forged, endless, or no sound at all."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from config.errors import Unavailable, Unusable
from workers.voice import audio_files
from workers.voice.audio_files import AudioFile
from workers.voice.ports import Samples
from workers.voice.wav import wav_header, write_wav

av = pytest.importorskip("av")

Hear = Callable[..., tuple[Samples, AudioFile]]


@pytest.fixture
def hear(tmp_path: Path) -> Hear:
    def begin(content: bytes, **given: Any) -> tuple[Samples, AudioFile]:
        path = tmp_path / "upload"
        path.write_bytes(content)
        file = AudioFile(path, **{"max_audio_s": 600, "limit_s": 60, **given})
        return np.concatenate([np.zeros(0, np.int16), *file]), file

    return begin


def tone(seconds: float = 2.0, rate: int = 44_100, channels: int = 1) -> Samples:
    one = (np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate) * 8_000).astype(np.int16)
    return np.repeat(one[:, None], channels, axis=1)


def encoded(path: Path, kind: str, codec: str, rate: int = 44_100, seconds: float = 2.0, channels: int = 1) -> bytes:
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(tone(seconds, rate, channels).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1_024
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate, frame_size=size)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(piece))
    return path.read_bytes()


def pitch(samples: Samples) -> int:
    """Of its second half second, in Hz."""
    return 2 * int(np.abs(np.fft.rfft(samples[8_000:16_000])).argmax())


@pytest.mark.parametrize(
    ("kind", "codec", "rate", "channels"),
    [
        ("wav", "pcm_s16le", 44_100, 2), ("wav", "pcm_f32le", 8_000, 1), ("mp3", "libmp3lame", 44_100, 2),
        ("mp4", "aac", 44_100, 1), ("ogg", "libopus", 48_000, 2), ("webm", "libopus", 48_000, 1),
        ("flac", "flac", 96_000, 2),
    ],
)  # fmt: skip
def test_every_kind(hear: Hear, tmp_path: Path, kind: str, codec: str, rate: int, channels: int) -> None:
    samples, file = hear(encoded(tmp_path / "made", kind, codec, rate, channels=channels))
    assert samples.dtype == np.int16
    assert file.seconds == len(samples) / 16_000 == pytest.approx(2, abs=0.1)
    assert file.problem is None
    assert pitch(samples) == 440
    assert 5_000 < np.abs(samples.astype(int)).max() < 17_000


def test_what_is_16_khz_already_is_not_changed(hear: Hear) -> None:
    given = tone(1.5, 16_000)[:, 0]
    assert np.array_equal(hear(write_wav(given, 16_000))[0], given)


def test_it_comes_in_pieces_and_waits_for_its_listener(tmp_path: Path) -> None:
    """An hour of sound; the process that reads it is not far ahead, and ends when nobody listens any more."""
    path = tmp_path / "hour.wav"
    with path.open("wb") as out:
        out.write(wav_header(16_000, 3_600 * 16_000))
        out.truncate(44 + 3_600 * 32_000)
    pieces = iter(AudioFile(path, max_audio_s=7_200, limit_s=60))
    assert max(len(next(pieces)) for _ in range(20)) <= 16_000
    (child,) = [child for child in psutil.Process().children() if "audio_child.py" in " ".join(child.cmdline())]
    assert child.memory_info().rss < 150 * 1024**2
    pieces.close()  # type: ignore[attr-defined]
    assert not child.is_running()


# --- less than a file


def test_a_file_that_was_cut_is_heard_as_far_as_it_goes(hear: Hear, tmp_path: Path) -> None:
    for kind, codec, rate in (("wav", "pcm_s16le", 44_100), ("mp3", "libmp3lame", 44_100), ("ogg", "libopus", 48_000)):
        whole = encoded(tmp_path / "made", kind, codec, rate, seconds=4)
        _, file = hear(whole[: len(whole) // 2])
        assert 1 < file.seconds < 3


def test_holes_in_a_file_are_told(hear: Hear, tmp_path: Path) -> None:
    whole = bytearray(encoded(tmp_path / "made", "flac", "flac", seconds=4))
    middle = len(whole) // 2
    whole[middle : middle + 3_000] = os.urandom(3_000)
    _, file = hear(bytes(whole))
    assert 1 < file.seconds < 4.1
    assert file.problem is None or "damaged" in file.problem


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"hello", b"<html></html>", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
     b"ffconcat version 1.0\nfile /etc/passwd\n",
     b"%PDF-1.4", b"PK\x03\x04" * 50, b"\x89PNG\r\n\x1a\n" * 20],
)  # fmt: skip
def test_what_is_no_sound_is_told(hear: Hear, content: bytes) -> None:
    with pytest.raises(Unusable, match="no sound that can be heard here: WAV, MP3"):
        hear(content)


@pytest.mark.parametrize(
    "content",
    [b"RIFF", b"RIFF\0\0\0\0WAVE", wav_header(16_000, 0), b"fLaC" + b"\0" * 500, b"OggS" + bytes(range(256)) * 20,
     b"\x1aE\xdf\xa3" + b"\xff" * 500, b"\0\0\0\x18ftypM4A " + b"\0" * 500, b"ID3" + b"\xff" * 1_000,
     b"\xff\xfb\x90\x00" + b"\x7f" * 50],
)  # fmt: skip
def test_what_is_broken_is_told(hear: Hear, content: bytes) -> None:
    with pytest.raises(Unusable) as caught:
        hear(content)
    assert caught.value.detail.endswith(".")


def test_pictures_without_sound(hear: Hear, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.mp4"), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for image in (np.zeros((64, 64, 3), np.uint8), None):
            container.mux(stream.encode(None if image is None else av.VideoFrame.from_ndarray(image)))
    with pytest.raises(Unusable, match="holds no sound"):
        hear((tmp_path / "film.mp4").read_bytes())


# --- more than a file


def test_more_sound_than_is_heard(hear: Hear) -> None:
    samples, file = hear(write_wav(tone(5, 16_000)[:, 0], 16_000), max_audio_s=2)
    assert len(samples) == 32_000
    assert file.problem == "Only the first 2 seconds of the file were heard."


def test_a_small_file_of_an_endless_sound(hear: Hear, tmp_path: Path) -> None:
    """A sample a second: each becomes 16,000."""
    slow = bytearray(write_wav(np.zeros(100_000, np.int16), 16_000))
    slow[24:32] = struct.pack("<II", 1, 2)
    _, file = hear(bytes(slow), max_audio_s=120)
    assert file.seconds == 120
    assert file.problem == "Only the first 2 minutes of the file were heard."


@pytest.mark.parametrize("rate", [0, 2**32 - 1])
@pytest.mark.parametrize("channels", [0, 65_535])
def test_impossible_numbers(hear: Hear, rate: int, channels: int) -> None:
    forged = bytearray(write_wav(tone(1, 16_000)[:, 0], 16_000))
    forged[22:28] = struct.pack("<HI", channels, rate)
    try:
        _, file = hear(bytes(forged), max_audio_s=60)
    except Unusable:
        return
    assert file.seconds <= 60


def test_too_little_time_is_told(hear: Hear, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text("import signal; signal.pause()")
    monkeypatch.setattr(audio_files, "_CHILD", child)
    with pytest.raises(Unusable, match="in the time it is given"):
        hear(b"", limit_s=0.3)


def test_a_cancel_ends_the_reading(hear: Hear, tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def cancelled() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        hear(write_wav(tone(1)[:, 0], 44_100), check=cancelled)
    assert not [child for child in psutil.Process().children() if "audio_child.py" in " ".join(child.cmdline())]


@pytest.mark.parametrize(
    "said", ["os.write(1, b'x' * 99)", "os.abort()", "os.write(1, b'e' + bytes([0, 0, 0, 1]) + b'{')"]
)
def test_a_process_that_crashes_is_told(hear: Hear, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str) -> None:
    child = tmp_path / "child.py"
    child.write_text(f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); {said}")
    monkeypatch.setattr(audio_files, "_CHILD", child)
    with pytest.raises(Unusable, match="damaged"):
        hear(b"")


def test_without_the_package_it_is_a_sentence(hear: Hear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_files.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(Unavailable, match="pip install av"):
        hear(b"")
