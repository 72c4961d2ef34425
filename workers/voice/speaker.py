"""Text to speech by processes of their own: espeak-ng everywhere, Kokoro or Piper where their weights lie."""

from __future__ import annotations

import importlib.util
import logging
import queue
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from config.errors import BackchannelError, ModelUnavailable, Unavailable, Unusable
from workers.voice.frames import Died
from workers.voice.speaker_process import SILENCE_S, Ready, SpeakerProcess
from workers.voice.speech import Flow, Speech

log = logging.getLogger(__name__)

Choice = Literal["auto", "espeak", "piper", "kokoro"]

MAX_CHARS = 10_000  # some ten minutes; callers give sentences
SLOWEST, FASTEST = 0.5, 2.0
_UNSAID = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # espeak-ng takes some control characters for commands


class ChildSpeaker:
    """Each of its threads has a process, and says one text after the other to it."""

    def __init__(self, name: str, arguments: Sequence[str], processes: int = 1, silence_s: float = SILENCE_S) -> None:
        """Waits until all processes are ready. Raises ModelUnavailable."""
        self.name = name
        self._waiting: queue.SimpleQueue[Flow | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._spoken: set[Flow] = set()  # just now
        self._processes = [SpeakerProcess(arguments, silence_s) for _ in range(processes)]
        started: queue.SimpleQueue[Ready | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, args=(process, started), name=f"speaker-{number}", daemon=True)
            for number, process in enumerate(self._processes, start=1)
        ]
        for thread in self._threads:
            thread.start()
        found = [started.get() for _ in self._threads]
        ready = found[0]
        if ready is None or None in found:
            self.close()
            raise ModelUnavailable(f"The speaker {name} cannot be started: it is broken, or memory is short.")
        self.sample_rate, self.voices = ready.sample_rate, ready.voices
        self._voices = frozenset(ready.voices)

    @property
    def pids(self) -> list[int | None]:
        """Of its processes; None for one that has died and is started for the next text."""
        return [process.pid for process in self._processes]

    def speak(self, text: str, voice: str | None = None, speed: float = 1.0) -> Speech:
        """It is spoken from now on, whether or not it is listened to: close it."""
        if voice is not None and voice not in self._voices:
            raise Unusable(f"The speaker {self.name} has no voice {voice[:64]!r}.")
        if not SLOWEST <= speed <= FASTEST:
            raise Unusable(f"The speed of speech is between {SLOWEST} and {FASTEST}.")
        if len(text) > MAX_CHARS:
            raise Unusable(f"A text that is spoken at a time has at most {MAX_CHARS:,} characters.")
        text = _UNSAID.sub(" ", text)
        flow = Flow({"text": text, "voice": voice or self.voices[0], "speed": speed}, self.sample_rate)
        with self._lock:
            if self._is_closed:
                flow.end(_closed())
            elif not text.strip():
                flow.end()
            else:
                self._waiting.put(flow)
        return Speech(flow)

    def close(self) -> None:
        """Ends the processes; texts that were not spoken to their end are Unavailable."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for flow in self._spoken:
                flow.end(_closed())
            for _ in self._threads:
                self._waiting.put(None)
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()

    # --- the threads

    def _serve(self, process: SpeakerProcess, started: queue.SimpleQueue[Ready | None]) -> None:
        try:
            try:
                started.put(process.start())
            except (Died, OSError):
                started.put(None)
            while (flow := self._waiting.get()) is not None:
                with self._lock:
                    self._spoken.add(flow)
                flow.end(self._say(process, flow))
                with self._lock:
                    self._spoken.discard(flow)
                if not self._is_closed:
                    process.warm()
        finally:
            process.close()

    def _say(self, process: SpeakerProcess, flow: Flow) -> BackchannelError | None:
        """What became of it."""
        for _ in range(2):
            if self._is_closed:
                return _closed()
            if not flow.begin(process):
                return None
            try:
                problem = process.speak(flow.request, flow.put, flow.is_wanted)
                return None if problem is None else Unavailable(f"The speaker {self.name} cannot say this: {problem}.")
            except (Died, OSError):
                if not self._is_closed:
                    log.warning("a process of the speaker %s died and is started again", self.name)
            finally:
                flow.release()
        return _closed() if self._is_closed else Unavailable(f"The speaker {self.name} ended twice while it said this.")


def _closed() -> Unavailable:
    return Unavailable("The speaker was closed; ask again.")


# --- which one --------------------------------------------------------------------------------------------------------


class _Absent(ModelUnavailable):
    """Nobody put it there: no reason to worry."""


def load_speaker(folder: Path, choice: Choice = "auto", processes: int = 1) -> ChildSpeaker:
    """Started and warm. `folder` holds a voice's weights, or nothing. "auto" takes Kokoro, else Piper, where weights
    and package are there, else espeak-ng. Raises ModelUnavailable."""
    finders = {"kokoro": _kokoro, "piper": _piper, "espeak": _espeak}
    if choice != "auto":
        return ChildSpeaker(*finders[choice](folder), processes)
    for find in (_kokoro, _piper):
        try:
            return ChildSpeaker(*find(folder), processes)
        except _Absent:
            continue
        except ModelUnavailable as error:
            log.warning("another speaker takes its place: %s", error.detail)
    return ChildSpeaker(*_espeak(folder), processes)


def _kokoro(folder: Path) -> tuple[str, list[str]]:
    models, voices = sorted(folder.glob("kokoro*.onnx")), sorted(folder.glob("voices*.bin"))
    if not models or not voices:
        raise _Absent("There are no weights of a Kokoro voice: pull some, or take another VOICE_SPEAKER.")
    _require("kokoro_onnx", "kokoro-onnx", "Kokoro voices")
    return f"kokoro/{models[0].stem}", ["kokoro", str(models[0].absolute()), str(voices[0].absolute())]


def _piper(folder: Path) -> tuple[str, list[str]]:
    models = [path for path in sorted(folder.glob("*.onnx")) if path.with_name(f"{path.name}.json").is_file()]
    if not models:
        raise _Absent("There are no weights of a Piper voice: run `backchannel models pull voice:speaker`.")
    _require("piper", "piper-tts", "Piper voices")
    return f"piper/{models[0].stem}", ["piper", str(models[0].absolute())]


def _espeak(_folder: Path) -> tuple[str, list[str]]:
    _require("espeakng_loader", "espeakng-loader", "espeak-ng")
    return "espeak-ng", ["espeak"]


def _require(module: str, package: str, what: str) -> None:
    """Looks without importing: these are under the GPL, and are loaded by processes of their own."""
    if importlib.util.find_spec(module) is None:
        raise ModelUnavailable(
            f"The package {package}, which speaks with {what}, is not installed: pip install {package} (GPL)."
        )
