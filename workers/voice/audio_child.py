"""Reads one audio file in a process without our settings, and without more memory and time than it was given.

    python -I audio_child.py PATH SECONDS_OF_AUDIO BYTES SECONDS

Standard output: frames, each a letter, a length in four bytes (big-endian) and so many bytes: "p" samples (16 kHz,
mono, 16 bits, little-endian), then "e", {"problem": null | a word}.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import struct
import sys
from contextlib import suppress
from typing import Any

RATE = 16_000
_PIECE = RATE  # samples of a frame
_MOST_BROKEN = 1_000  # packets that cannot be decoded, one after the other, before the rest is given up

# What a file begins with → the one reader that it is given to. FFmpeg itself would also recognise play lists, and
# fetch what they name.
_READERS = (
    (0, b"RIFF", "wav"), (0, b"RIFX", "wav"), (0, b"fLaC", "flac"), (0, b"OggS", "ogg"), (0, b"ID3", "mp3"),
    (0, b"\x1aE\xdf\xa3", "matroska"), (4, b"ftyp", "mp4"), (4, b"moov", "mp4"), (4, b"mdat", "mp4"),
)  # fmt: skip


def send(kind: bytes, content: bytes) -> None:
    left = memoryview(kind + struct.pack(">I", len(content)) + content)
    while left:
        left = left[os.write(_out, left) :]


def reader_of(head: bytes) -> str | None:
    for at, magic, reader in _READERS:
        if head[at : at + len(magic)] == magic:
            return reader
    is_mp3 = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4, 0xE6)
    return "mp3" if is_mp3 else None


class Samples:
    """Whole frames of what comes, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._waiting = bytearray()
        self.any = False

    def add(self, raw: bytes) -> bool:
        """False when it is enough."""
        self._waiting += raw[: 2 * self._left]
        self._left -= min(self._left, len(raw) // 2)
        while len(self._waiting) >= 2 * _PIECE:
            self._send(2 * _PIECE)
        return self._left > 0

    def end(self) -> None:
        if self._waiting:
            self._send(len(self._waiting))

    def _send(self, size: int) -> None:
        self.any = True
        send(b"p", bytes(self._waiting[:size]))
        del self._waiting[:size]


def read(path: str, samples: Samples) -> str | None:
    """Returns what is missing."""
    av = importlib.import_module("av")
    av.logging.set_level(av.logging.PANIC)
    with open(path, "rb") as file:  # noqa: PTH123 - no more is imported here than it takes
        reader = reader_of(file.read(12))
        if reader is None:
            return "unknown"
        file.seek(0)
        with av.open(file, format=reader, metadata_errors="ignore") as container:
            if not container.streams.audio:
                return "silent"
            return decode(av, container, container.streams.audio[0], samples)


def decode(av: Any, container: Any, stream: Any, samples: Samples) -> str | None:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    broken, damaged = 0, False
    packets = container.demux(stream)
    while broken < _MOST_BROKEN:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            for frame in packet.decode():
                for found in resampler.resample(frame):
                    if not samples.add(bytes(found.planes[0])[: 2 * found.samples]):
                        return "cut"
            broken = 0
        except (av.error.InvalidDataError, av.error.EOFError, av.error.ValueError):
            broken, damaged = broken + 1, True
    with suppress(av.error.FFmpegError):
        for found in resampler.resample(None):
            samples.add(bytes(found.planes[0])[: 2 * found.samples])
    return "damaged" if damaged else None


def main() -> None:
    path, *numbers = sys.argv[1:]
    audio_s, memory, seconds = map(int, numbers)
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, 0)):
        with suppress(ValueError, OSError):  # macOS has no limit of memory
            resource.setrlimit(limit, (value, value))
    samples = Samples(audio_s * RATE)
    try:
        problem = read(path, samples)
    except BrokenPipeError:
        return
    except MemoryError:
        problem = "memory"
    except Exception:
        problem = "damaged"
    samples.end()
    send(b"e", json.dumps({"problem": problem}).encode())


if __name__ == "__main__":
    _out = os.dup(1)
    os.dup2(2, 1)  # libraries print; that must not stand between the frames
    main()
