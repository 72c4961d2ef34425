"""Speech for the tests, spoken when it is asked for. espeak-ng is GPL: it runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from workers.voice.ports import HEARING_RATE, Samples

_ESPEAK = """
import ctypes, json, struct, sys
import espeakng_loader

espeak = ctypes.CDLL(espeakng_loader.get_library_path())
rate = espeak.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
heard = []

@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
def keep(samples, count, events):
    if samples and count > 0:
        heard.append(ctypes.string_at(samples, 2 * count))
    return 0

espeak.espeak_SetSynthCallback(keep)
for line in sys.stdin:
    said = json.loads(line)
    if espeak.espeak_SetVoiceByName(said["voice"].encode()):
        sys.exit("no voice " + said["voice"])
    for parameter, name in ((1, "rate"), (2, "amplitude"), (3, "pitch"), (4, "span")):
        espeak.espeak_SetParameter(parameter, said[name], 0)
    text = said["text"].encode()
    espeak.espeak_Synth(text, len(text) + 1, 0, 1, 0, 1, None, None)
    speech = b"".join(heard)
    heard.clear()
    sys.stdout.buffer.write(struct.pack("<ii", rate, len(speech)) + speech)
"""


@dataclass(frozen=True, slots=True)
class Style:
    """`rate` in words a minute; `pitch` and its `span` 0..99; `amplitude` 0..200."""

    rate: int = 165
    pitch: int = 50
    span: int = 50
    amplitude: int = 100
    voice: str = "en-us"


def say(*spoken: str | tuple[str, Style]) -> list[Samples]:
    """Each text at HEARING_RATE, in the usual style or its own."""
    lines = [(one, Style()) if isinstance(one, str) else one for one in spoken]
    child = subprocess.run(
        [sys.executable, "-c", _ESPEAK],
        input="".join(json.dumps({"text": text, **asdict(style)}) + "\n" for text, style in lines).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return list(_speeches(child.stdout, len(lines)))


def _speeches(written: bytes, count: int) -> list[Samples]:
    speeches, place = [], 0
    for _ in range(count):
        rate, size = np.frombuffer(written, np.int32, 2, place)
        samples = np.frombuffer(written, np.int16, size // 2, place + 8).astype(np.float32)
        speeches.append(_int16(soxr.resample(samples, rate, HEARING_RATE)))
        place += 8 + int(size)
    return speeches


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * HEARING_RATE), np.int16)


def noise(seconds: float, db: float = -30.0, seed: int = 1) -> Samples:
    """White, `db` below full scale."""
    white = np.random.default_rng(seed).standard_normal(round(seconds * HEARING_RATE))
    return _int16(white * 32768 * 10 ** (db / 20))


def together(*pieces: Samples) -> Samples:
    return np.concatenate(pieces)


def _int16(samples: NDArray[np.floating]) -> Samples:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
