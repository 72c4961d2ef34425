"""Speaks, in a process of its own: what it loads is under the GPL and may crash; neither is to happen to ours.

    python -I speaker_child.py espeak [DATA] | piper VOICE.onnx | kokoro MODEL.onnx VOICES.bin

Standard input: {"text", "voice", "speed"}, or {} which stops what is being spoken; JSON behind its length in four bytes
(big-endian). Standard output: frames, each a letter, a length and so many bytes: "r" when ready ({"sample_rate",
"voices"}), "p" samples (16 bits, little-endian), "e" at the end of each text ({"problem": null | words}).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

_PIECE_MS = 100
# What a Kokoro voice's first letter says that it speaks.
_LANGUAGES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-br", "z": "cmn",
}  # fmt: skip


class Backend(Protocol):
    sample_rate: int
    voices: list[str]

    def speak(self, text: str, voice: str, speed: float, put: Callable[[bytes], bool]) -> None:
        """`put` says whether anybody wants more."""
        ...


# --- espeak-ng --------------------------------------------------------------------------------------------------------


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),  # a byte of priority, then the first language
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("unused", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


class Espeak:
    _FIRST = ("en-us", "en-us+f3", "en-us+m3", "en-gb", "en-gb+f4", "en-gb+m7")
    _SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
    _UTF8, _END_PAUSE = 1, 0x1000  # neither SSML nor phonemes in brackets: a text is what is read
    _CHARACTERS, _RATE = 1, 1
    _WORDS_PER_MINUTE = 175

    def __init__(self, data: str = "") -> None:
        loader = importlib.import_module("espeakng_loader")
        self._lib = lib = ctypes.CDLL(loader.get_library_path())
        # A path of more than some 160 characters is silently replaced by a built-in one, so it is given a short one.
        os.chdir(os.path.dirname(data or loader.get_data_path()))  # noqa: PTH120 - little is imported here
        lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        lib.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self.sample_rate = lib.espeak_Initialize(self._SYNCHRONOUS, _PIECE_MS, b".", self._DONT_EXIT)
        if self.sample_rate <= 0:
            raise RuntimeError("espeak-ng does not find its data")
        self._files = self._list()
        self.voices = [name for name in self._FIRST if name.partition("+")[0] in self._files]
        self.voices += [name for name in self._files if name not in self.voices]
        self._put: Callable[[bytes], bool] = lambda _: False
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self._heard = kind(self._hear)  # kept: the library holds no reference
        lib.espeak_SetSynthCallback(self._heard)

    def _list(self) -> dict[str, str]:
        """Language → file, which unlike a language can be had in all variants."""
        found: dict[str, str] = {}
        for voice in self._lib.espeak_ListVoices(None):
            if not voice:
                break
            language = ctypes.string_at(voice.contents.languages + 1).decode()
            file = voice.contents.identifier.decode()
            found.setdefault(file.rpartition("/")[2].lower() if language in found else language, file)
        return found

    def _hear(self, samples: int | None, count: int, _events: int) -> int:
        wanted = not samples or count <= 0 or self._put(ctypes.string_at(samples, 2 * count))
        return 0 if wanted else 1

    def speak(self, text: str, voice: str, speed: float, put: Callable[[bytes], bool]) -> None:
        self._put = put
        language, plus, variant = voice.partition("+")
        if self._lib.espeak_SetVoiceByName((self._files[language] + plus + variant).encode()):
            raise RuntimeError("espeak-ng cannot load the voice")
        self._lib.espeak_SetParameter(self._RATE, round(self._WORDS_PER_MINUTE * speed), 0)
        said = text.encode()
        if self._lib.espeak_Synth(
            said, len(said) + 1, 0, self._CHARACTERS, 0, self._UTF8 | self._END_PAUSE, None, None
        ):
            raise RuntimeError("espeak-ng cannot say that")


# --- neural voices ----------------------------------------------------------------------------------------------------


def _session(model: str) -> Any:
    """Threads that wait for work without spinning: a language model wants the cores meanwhile."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, (os.cpu_count() or 2) // 2)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Piper:
    def __init__(self, model: str) -> None:
        self._piper = importlib.import_module("piper")
        folder = importlib.import_module("piper.phonemize_espeak").ESPEAK_DATA_DIR
        with open(f"{model}.json", encoding="utf-8") as file:  # noqa: PTH123
            config = importlib.import_module("piper.config").PiperConfig.from_dict(json.load(file))
        session = _session(model)
        os.chdir(folder.parent)  # a short path, as above
        self._voice = self._piper.PiperVoice(session, config, folder.relative_to(folder.parent))
        self.sample_rate = config.sample_rate
        self._speakers: dict[str, int | None] = dict(config.speaker_id_map) if config.num_speakers > 1 else {}
        if not self._speakers:
            self._speakers = {os.path.basename(model).removesuffix(".onnx"): None}  # noqa: PTH119
        self.voices = list(self._speakers)

    def speak(self, text: str, voice: str, speed: float, put: Callable[[bytes], bool]) -> None:
        length = self._voice.config.length_scale / speed
        config = self._piper.SynthesisConfig(speaker_id=self._speakers[voice], length_scale=length)
        for chunk in self._voice.synthesize(text.replace("[[", "[ ["), config):  # phonemes would stand in those
            if not put(chunk.audio_int16_bytes):
                return


class Kokoro:
    def __init__(self, model: str, voices: str) -> None:
        self._kokoro = importlib.import_module("kokoro_onnx").Kokoro.from_session(_session(model), voices)
        self.sample_rate = 24_000
        self.voices = sorted(self._kokoro.get_voices(), key=lambda name: (name[:1] not in "ab", name))  # English first

    def speak(self, text: str, voice: str, speed: float, put: Callable[[bytes], bool]) -> None:
        try:
            samples, _ = self._kokoro.create(text, voice=voice, speed=speed, lang=_LANGUAGES.get(voice[:1], "en-us"))
        except ValueError:  # no sound of it is known; voice and speed are right
            return
        put((samples.clip(-1, 1) * 32_767).astype("<i2").tobytes())


# --- the pipes --------------------------------------------------------------------------------------------------------


class Pipes:
    def __init__(self) -> None:
        # Libraries print; what they say there must not stand between the frames.
        self._out = os.dup(1)
        os.dup2(2, 1)

    def send(self, kind: bytes, content: bytes) -> None:
        left = memoryview(kind + struct.pack(">I", len(content)) + content)
        while left:
            left = left[os.write(self._out, left) :]

    def tell(self, kind: bytes, **said: Any) -> None:
        self.send(kind, json.dumps(said).encode())

    def receive(self) -> dict[str, Any]:
        """Raises EOFError: nobody is there any more."""
        (length,) = struct.unpack(">I", self._read(4))
        found: dict[str, Any] = json.loads(self._read(length))
        return found

    def _read(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            block = os.read(0, size - len(read))
            if not block:
                raise EOFError
            read += block
        return read

    def put(self, samples: bytes) -> bool:
        """While a text is spoken only a stop comes in, or the end."""
        if select.select([0], [], [], 0)[0]:
            return False
        self.send(b"p", samples)
        return True


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for who started us; then our input ends
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipes = Pipes()
    kinds: dict[str, Callable[..., Backend]] = {"espeak": Espeak, "piper": Piper, "kokoro": Kokoro}
    kind, *given = sys.argv[1:]
    backend = kinds[kind](*given)
    pipes.tell(b"r", sample_rate=backend.sample_rate, voices=backend.voices)
    while True:
        asked = pipes.receive()
        if not asked:
            continue  # a stop that came when all had been said
        problem = None
        try:
            backend.speak(asked["text"], asked["voice"], asked["speed"], pipes.put)
        except OSError:
            raise
        except Exception as error:
            problem = type(error).__name__
        pipes.tell(b"e", problem=problem)


if __name__ == "__main__":
    with contextlib.suppress(EOFError, BrokenPipeError):
        main()
