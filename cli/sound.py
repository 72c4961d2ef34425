"""Sound for `talk`: recordings, microphone and loudspeaker."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cli.problems import ClientError
from config.errors import BackchannelError
from workers.voice.audio_files import AudioFile
from workers.voice.ports import HEARING_RATE, Samples

MAX_RECORDING_S = 3600.0
READ_S = 120.0
BLOCK_MS = 40  # of the microphone: little enough that nobody notices, enough to be few


def read_recording(path: Path) -> Samples:
    """At HEARING_RATE, from any rate and any number of channels. Raises ClientError."""
    sound = AudioFile(path, max_audio_s=MAX_RECORDING_S, limit_s=READ_S)
    try:
        pieces = list(sound)
    except BackchannelError as error:
        raise ClientError(error.detail, "unreadable_file") from None
    if sound.problem is not None:
        raise ClientError(sound.problem, "unreadable_file")
    return np.concatenate(pieces)


class Devices:
    """Microphone and loudspeaker, both at once. `on_sound` is given what the microphone hears, in another thread."""

    def __init__(self, on_sound: Any, output_rate: int) -> None:
        """Raises ClientError where there are none."""
        self._lock = threading.Lock()
        self._to_play = bytearray()
        sounddevice = _sounddevice()
        block = HEARING_RATE * BLOCK_MS // 1000
        self._on_sound = on_sound
        try:
            common = {"channels": 1, "dtype": "int16"}
            self._microphone = sounddevice.RawInputStream(
                samplerate=HEARING_RATE, blocksize=block, callback=self._heard, **common
            )
            self._loudspeaker = sounddevice.RawOutputStream(samplerate=output_rate, callback=self._play, **common)
        except sounddevice.PortAudioError:
            raise ClientError(
                "There is no microphone or no loudspeaker here that can be used; give a recording with --file.",
                "no_devices",
            ) from None

    def __enter__(self) -> Self:
        self._loudspeaker.start()
        self._microphone.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._microphone.close()
        self._loudspeaker.close()

    def play(self, pcm: bytes) -> None:
        """After what is to be played already."""
        with self._lock:
            self._to_play += pcm

    def fall_silent(self) -> None:
        with self._lock:
            self._to_play.clear()

    def _heard(self, data: Any, _frames: int, _time: Any, _status: Any) -> None:
        self._on_sound(bytes(data))

    def _play(self, data: Any, _frames: int, _time: Any, _status: Any) -> None:
        with self._lock:
            size = min(len(data), len(self._to_play))
            data[:size] = self._to_play[:size]
            data[size:] = bytes(len(data) - size)
            del self._to_play[:size]


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise ClientError(
            "The package sounddevice is not installed (pip install sounddevice); or give a recording with --file.",
            "no_devices",
        ) from None
    except OSError:
        raise ClientError(
            "PortAudio is missing (apt-get install libportaudio2); or give a recording with --file.", "no_devices"
        ) from None
    return sounddevice
