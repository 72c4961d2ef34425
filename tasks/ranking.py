"""How sure a search is of each passage: its words and its meaning, weighed by how sure each side is. Pure.

Adding ranks up, as reciprocal-rank fusion does, lets the weak side drown the strong one: a paraphrase shares only
common words with its passage, and an identifier means nothing to an embedder. So each side gives a confidence of 0
to 1, the stronger counts in full and the weaker adds a little.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

Why = Literal["text", "vector", "text+vector"]

# Cosines of all-MiniLM: below the first nothing is meant, above the second the same is said in other words.
COSINE_NOISE, COSINE_SURE = 0.25, 0.8
# What the weaker side adds to the stronger.
AGREEMENT = 0.25
# A passage with every word of the query, a rare one among them, is what was looked for.
EXACT = 1.0


@dataclass(frozen=True, slots=True)
class Ranked:
    chunk_id: str
    score: float  # 0..1
    why: Why


class Rarity:
    """How much it says that a word occurs: much for a rare one, next to nothing for one that is everywhere."""

    def __init__(self, frequencies: Mapping[str, int], total: int) -> None:
        """`frequencies`: in how many of `total` passages each term of the query occurs."""
        self._total = max(total, 1)
        self._weights = {term: math.log1p(self._total / (1 + count)) for term, count in frequencies.items()}
        self._all = math.fsum(weight**2 for weight in self._weights.values())

    def confidence(self, matched: Collection[str]) -> float:
        """How surely a passage with these words is meant: the share of the query's weight that it has (squared,
        so that a common word that is missing says little), times how rare its rarest word is."""
        weights = [self._weights[term] for term in matched if term in self._weights]
        if not weights or not self._all:
            return 0.0
        share = math.fsum(weight**2 for weight in weights) / self._all
        rarest = max(weights) / math.log1p(self._total / 2)
        return EXACT * share * min(1.0, rarest)


def rank(
    cosines: Mapping[str, float], matched: Mapping[str, Collection[str]], rarity: Rarity, least_cosine: float
) -> list[Ranked]:
    """The passages of both sides, the surest first; equal ones in the order of their ids. `cosines` and `matched` (the
    query's words that occur) by chunk id; a cosine below `least_cosine` is noise."""
    ranked = []
    for chunk_id in cosines.keys() | matched.keys():
        cosine = cosines.get(chunk_id, 0.0)
        meaning = _meaning(cosine) if cosine >= least_cosine else 0.0
        text = rarity.confidence(matched.get(chunk_id, ()))
        if meaning or text:
            score = min(1.0, max(meaning, text) + AGREEMENT * min(meaning, text))
            ranked.append(Ranked(chunk_id, score, _why(meaning, text)))
    return sorted(ranked, key=lambda one: (-one.score, one.chunk_id))


def _meaning(cosine: float) -> float:
    return min(1.0, max(0.01, (cosine - COSINE_NOISE) / (COSINE_SURE - COSINE_NOISE)))


def _why(meaning: float, text: float) -> Why:
    """What it was found by; a side that is far behind the other is not named."""
    if not text or text < meaning / 4:
        return "vector"
    return "text" if meaning < text / 4 else "text+vector"
