"""Emotion by likeness: a text is compared with sentences that each label is known by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.embedding.chunking import split
from workers.emotion.negation import say_otherwise
from workers.emotion.sentences import PROTOTYPES
from workers.ports import Embedder, Feeling

# Cosines of a sentence and the labels differ by a tenth or so; at this temperature the confidence is about how often
# the classifier is right.
TEMPERATURE = 30.0
# What is left of a feeling that is denied in so many words, and how much more a denial speaks for none at all.
DENIED, CALMER = 0.05, 4.0
# Pieces of a long text that are looked at, the first ones.
MAX_PIECES = 8


class PrototypeEmotion:
    """One vector per label, the mean of its sentences'."""

    labels = tuple(PROTOTYPES)

    def __init__(self, embedder: Embedder) -> None:
        self.name = f"prototypes-{embedder.name}"
        self._embedder = embedder
        sentences = [sentence for label in self.labels for sentence in PROTOTYPES[label]]
        vectors = iter(embedder.embed(sentences, urgent=True))
        means = [np.mean([next(vectors) for _ in PROTOTYPES[label]], axis=0) for label in self.labels]
        self._centres: NDArray[np.float32] = np.stack([mean / np.linalg.norm(mean) for mean in means])

    def classify(self, text: str) -> Feeling:
        rewritten, denied = say_otherwise(text[: MAX_PIECES * self._embedder.max_tokens * 8])
        pieces = split(rewritten, self._embedder.count_tokens, self._embedder.max_tokens)[:MAX_PIECES]
        if not pieces:
            return Feeling({label: float(label == "neutral") for label in self.labels}, self.name)
        cosines = self._embedder.embed([piece.text for piece in pieces], urgent=True) @ self._centres.T
        shares = np.exp(TEMPERATURE * (cosines - cosines.max(axis=1, keepdims=True)))
        shares /= shares.sum(axis=1, keepdims=True)
        mixed = np.average(shares, axis=0, weights=[len(piece.text) for piece in pieces])
        scores = dict(zip(self.labels, map(float, mixed), strict=True))
        return Feeling(_without(denied, scores) if denied else scores, self.name)


def _without(denied: frozenset[str], scores: dict[str, float]) -> dict[str, float]:
    weighed = {label: share * (DENIED if label in denied else 1.0) for label, share in scores.items()}
    weighed["neutral"] += 1.0 - sum(weighed.values())
    if "joy" not in denied:  # who is not glad is hardly unmoved
        weighed["neutral"] *= CALMER
    total = sum(weighed.values())
    return {label: weight / total for label, weight in weighed.items()}
