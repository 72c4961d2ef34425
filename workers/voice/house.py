"""The voice models of this process: chosen by the settings, loaded once, at the voice worker's start or by the first
who asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from config.errors import BackchannelError
from config.logging import log
from config.settings import Settings, get_settings
from workers.voice.ports import HEARING_RATE, Samples, Speaker, SpeechEmotion, Transcriber, VoiceActivity

T = TypeVar("T")

_lock = threading.RLock()
_parts: dict[str, Any] = {}


def _once(name: str, make: Callable[[Settings], T]) -> T:
    with _lock:
        if name not in _parts:
            _parts[name] = make(get_settings())
        found: T = _parts[name]
        return found


def transcriber() -> Transcriber:
    """Raises ModelUnavailable."""
    return _once("transcriber", _transcriber)


def speaker() -> Speaker:
    """Raises ModelUnavailable."""
    return _once("speaker", _speaker)


def voice_activity() -> VoiceActivity:
    return _once("activity", _activity)


def speech_emotion() -> SpeechEmotion:
    return _once("speech_emotion", _speech_emotion)


def close() -> None:
    with _lock:
        gone = list(_parts.values())
        _parts.clear()
    for part in gone:
        if hasattr(part, "close"):
            part.close()


def models_folder(settings: Settings) -> Path:
    """Where `backchannel models pull voice` puts what it fetches."""
    return settings.data_dir / "models" / "voice"


def _transcriber(settings: Settings) -> Transcriber:
    from workers.voice.sphinx import SphinxTranscriber

    folder = models_folder(settings) / "transcriber"
    if settings.voice_transcriber == "whisper" or (
        settings.voice_transcriber == "auto" and (folder / "model.bin").is_file()
    ):
        from workers.voice.whisper import WhisperTranscriber

        try:
            return WhisperTranscriber(folder, settings.voice_transcribers)
        except BackchannelError as error:
            if settings.voice_transcriber == "whisper":
                raise
            log.warning("the embedded recogniser serves", reason=error.detail)
    return SphinxTranscriber(settings.voice_transcribers)


def _speaker(settings: Settings) -> Speaker:
    from workers.voice.speaker import load_speaker

    return load_speaker(models_folder(settings) / "speaker", settings.voice_speaker, settings.voice_speakers)


def _activity(_settings: Settings) -> VoiceActivity:
    from workers.voice.silero import SileroVoiceActivity

    return SileroVoiceActivity()


def _speech_emotion(_settings: Settings) -> SpeechEmotion:
    from workers.voice.prosody import ProsodyEmotion

    found = ProsodyEmotion()
    found.hear(_hum())  # what it loads at its first use, it loads now
    return found


def _hum() -> Samples:
    """A second that sounds like a voice."""
    time_s = np.arange(HEARING_RATE) / HEARING_RATE
    return (8000 * (time_s * 150 % 1 - 0.5) * (1 + np.sin(25 * time_s))).astype(np.int16)
