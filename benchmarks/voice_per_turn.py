"""One spoken turn in a process of its own, as programs do it that keep nothing loaded: load, understand, answer, speak.
Prints the seconds from the start of the process to the first sound."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil


def main(recording: Path) -> None:
    from workers import registry
    from workers.llm.extractive import ExtractiveAnswerer
    from workers.ports import ChatMessage, ChatRequest, Delta
    from workers.voice import house
    from workers.voice.fusion import fuse
    from workers.voice.spoken_text import spoken_text
    from workers.voice.wav import read_wav

    samples, _ = read_wav(recording)
    activity = house.voice_activity()
    stream = activity.stream()
    for start in range(0, len(samples) - activity.window_samples + 1, activity.window_samples):
        stream.probability(samples[start : start + activity.window_samples])
    utterance = house.transcriber().utterance()
    utterance.feed(samples)
    heard = utterance.finish()
    fuse(registry.emotion().classify(heard.text), heard.confidence, house.speech_emotion().hear(samples))
    registry.embedder().embed([heard.text])  # what a search for passages needs
    request = ChatRequest((ChatMessage("user", heard.text),), work_class="voice")
    pieces = ExtractiveAnswerer().stream(request, lambda: False)
    text = "".join(piece.text for piece in pieces if isinstance(piece, Delta))
    next(iter(house.speaker().speak(spoken_text(text))))
    print(time.time() - psutil.Process().create_time())
    house.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
