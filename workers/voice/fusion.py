"""What the words say and how they sound, weighed by how sure each is. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from workers.ports import Feeling
from workers.voice.ports import Prosody

# How lively a voice is that feels so, -1..1; a label that is not here is left where the words put it.
AROUSAL = {"anger": 0.7, "fear": 0.5, "joy": 0.5, "surprise": 0.6, "disgust": 0.1, "neutral": -0.1, "sadness": -0.6}
_WIDTH = 0.8  # of what fits an arousal
_NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Fused:
    scores: dict[str, float]
    backend: str
    text: Feeling | None
    speech: Prosody | None
    text_weight: float

    @property
    def label(self) -> str:
        return max(self.scores, key=lambda label: self.scores[label])

    def as_json(self) -> dict[str, Any]:
        """The seed's {primary_emotion, confidence}, and what it was made of."""
        told: dict[str, Any] = {
            "primary_emotion": self.label,
            "confidence": round(self.scores[self.label], 4),
            "scores": {label: round(score, 4) for label, score in self.scores.items()},
            "backend": self.backend,
            "text": None,
            "speech": None,
        }
        if self.text is not None:
            told["text"] = {
                "primary_emotion": self.text.label,
                "confidence": round(self.text.confidence, 4),
                "weight": round(self.text_weight, 4),
                "backend": self.text.backend,
            }
        if self.speech is not None:
            told["speech"] = {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in asdict(self.speech).items()
            }
        return told


def fuse(feeling: Feeling | None, transcript_confidence: float, prosody: Prosody | None) -> Fused:
    """Words that were hardly understood count little; the voice moves shares between lively and quiet labels only, by
    its own confidence: it says nothing of good and bad."""
    weight = min(1.0, max(0.0, transcript_confidence)) if feeling is not None else 0.0
    scores = _of_the_words(feeling, weight)
    backends = [feeling.backend] if feeling is not None else []
    if prosody is not None:
        backends.append(prosody.backend)
        fits = {
            label: math.exp(-prosody.confidence * ((AROUSAL[label] - prosody.arousal) / _WIDTH) ** 2)
            for label in scores
            if label in AROUSAL
        }
        scores = {label: share * fits.get(label, 1.0) for label, share in scores.items()}
        total = sum(scores.values())
        scores = {label: share / total for label, share in scores.items()}
    return Fused(scores, "+".join(backends) or "none", feeling, prosody, weight)


def _of_the_words(feeling: Feeling | None, weight: float) -> dict[str, float]:
    """What is not believed of them is neutral."""
    if feeling is None:
        return {label: 1.0 if label == _NEUTRAL else 0.0 for label in AROUSAL} | {_NEUTRAL: 1.0}
    scores = {label: share * weight for label, share in feeling.scores.items()}
    scores[_NEUTRAL] = scores.get(_NEUTRAL, 0.0) + 1.0 - weight
    return scores
