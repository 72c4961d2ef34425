"""The other end of `benchmarks.hearing`: it holds the models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tests.workers.voice.spoken import Style, say
from workers import registry
from workers.ports import Feeling
from workers.voice import house
from workers.voice.fusion import fuse
from workers.voice.ports import Samples, Transcript

_WORD = re.compile(r"[a-z']+")


def word_errors(said: list[dict[str, Any]], closed: bool) -> float:
    wrong = total = 0
    phrases = [one["text"] for one in said] if closed else []
    for one, samples in zip(said, _speak(said), strict=True):
        right = _WORD.findall(one["text"].lower())
        wrong += _distance(right, _WORD.findall(_understand(samples, phrases).text.lower()))
        total += len(right)
    return wrong / total


def feelings(said: list[dict[str, Any]]) -> dict[str, float]:
    """Share of those that were told right."""
    right = dict.fromkeys(("the true words", "the true words and the voice", "recognised words", "both, recognised"), 0)
    for one, samples in zip(said, _speak(said), strict=True):
        prosody, heard = house.speech_emotion().hear(samples), _understand(samples, [])
        true, recognised = (_classify(text) for text in (one["text"], heard.text))
        found = (
            true.label,
            fuse(true, 1.0, prosody).primary,
            recognised.label,
            fuse(recognised, heard.confidence, prosody).primary,
        )
        for name, label in zip(right, found, strict=True):
            right[name] += label == one["label"]
    return {name: count / len(said) for name, count in right.items()}


def _speak(said: list[dict[str, Any]]) -> list[Samples]:
    return say(*((one["text"], Style(**one["style"])) for one in said))


def _understand(samples: Samples, phrases: Sequence[str]) -> Transcript:
    utterance = house.transcriber().utterance(phrases)
    try:
        utterance.feed(samples)
        return utterance.finish()
    finally:
        utterance.close()


def _classify(text: str) -> Feeling:
    return registry.emotion().classify(text)


def _distance(right: Sequence[str], found: Sequence[str]) -> int:
    """Words to be changed, added or taken away."""
    row = list(range(len(found) + 1))
    for at, word in enumerate(right, 1):
        before, row[0] = row[0], at
        for place, other in enumerate(found, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]
