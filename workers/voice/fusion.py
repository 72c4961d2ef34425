"""What somebody feels, from the words and from the voice. Pure.

Words are believed as far as the transcript is sure of them. A voice tells how stirred up somebody is, not whether by
joy or by anger: it only decides between feelings that are equally pleasant, so that what the words share out to the
unpleasant ones, say, is theirs afterwards, too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from workers.ports import Feeling
from workers.voice.ports import Prosody

NEUTRAL = "neutral"
# How far a voice that is quite stirred and quite sure multiplies the share of the most stirred feeling.
STRENGTH = 1.2
# How stirred up people are who feel so, -1..1, beside feelings as pleasant as theirs. Others are left as they are.
AROUSAL: tuple[dict[str, float], ...] = (
    {
        "anger": 1.0, "annoyance": 0.4, "disapproval": 0.0, "disgust": 0.0, "fear": 0.5, "nervousness": 0.4,
        "sadness": -1.0, "grief": -0.7, "disappointment": -0.6, "remorse": -0.6, "embarrassment": 0.0,
    },
    {
        "joy": 0.5, "excitement": 1.0, "amusement": 0.5, "admiration": 0.2, "love": 0.1, "gratitude": -0.1,
        "approval": -0.2, "caring": -0.3, "optimism": 0.1, "pride": 0.3, "relief": -0.7,
    },
    {"surprise": 1.0, "confusion": 0.1, "curiosity": 0.3, "realization": 0.0, "desire": 0.3, NEUTRAL: -0.5},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fused:
    """`confidence` 0..1 in `primary`; 0 where there were no words. The parts as they were given."""

    scores: dict[str, float]
    primary: str
    confidence: float
    backend: str
    text: Feeling | None
    speech: Prosody | None

    def as_json(self) -> dict[str, Any]:
        text, speech = self.text, self.speech
        return {
            "primary_emotion": self.primary,
            "confidence": self.confidence,
            "scores": self.scores,
            "backend": self.backend,
            "text": text
            and {
                "primary_emotion": text.label,
                "confidence": text.confidence,
                "scores": text.scores,
                "backend": text.backend,
            },
            "speech": asdict(speech) if speech is not None else None,
        }


def fuse(feeling: Feeling | None, transcript_confidence: float, prosody: Prosody | None) -> Fused:
    """`transcript_confidence` 0..1; 1 where the words were written. Of no words it is neutral, and nobody is sure."""
    backend = " + ".join(part.backend for part in (feeling, prosody) if part is not None) or "none"
    if feeling is None or not feeling.scores:
        return Fused({NEUTRAL: 1.0}, NEUTRAL, 0.0, backend, None, prosody)
    scores = _doubted(feeling.scores, _share(transcript_confidence))
    if prosody is not None:
        scores = _moved(scores, STRENGTH * _share(prosody.confidence) * max(-1.0, min(1.0, prosody.arousal)))
    primary = max(scores, key=lambda label: (scores[label], label.lower() == NEUTRAL))
    return Fused(scores, primary, scores[primary], backend, feeling, prosody)


def _share(value: float) -> float:
    return max(0.0, min(1.0, value))


def _doubted(scores: dict[str, float], belief: float) -> dict[str, float]:
    """As far as the words are not believed, every label is as likely."""
    total = sum(scores.values()) or 1.0
    return {label: belief * score / total + (1 - belief) / len(scores) for label, score in scores.items()}


def _moved(scores: dict[str, float], stirred: float) -> dict[str, float]:
    moved = dict(scores)
    for feelings in AROUSAL:
        alike = {label: feelings[label.lower()] for label in scores if label.lower() in feelings}
        weighed = {label: scores[label] * math.exp(stirred * arousal) for label, arousal in alike.items()}
        before, after = sum(scores[label] for label in alike), sum(weighed.values())
        moved |= {label: weight * before / after for label, weight in weighed.items() if after > 0}
    return moved
