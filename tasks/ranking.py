"""How sure a search is of each passage and of each conversation: its words and its meaning, weighed by how sure each
side is. Pure.

Adding ranks up, as reciprocal-rank fusion does, lets the weak side drown the strong one: a paraphrase shares only
common words with its passage, and an identifier means nothing to an embedder. So each side gives a confidence of 0
to 1, and one is found as surely as it is unlikely that both err: 1 - (1 - words)(1 - meaning). Measured in
docs/decisions/0012-how-search-ranks.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

Why = Literal["text", "vector", "text+vector", "title"]

# Cosines of all-MiniLM: below the first nothing is meant, above the second the same is said in other words.
COSINE_NOISE, COSINE_SURE = 0.25, 0.8
# Words that are spread over a conversation and its title say a little less than those of one passage.
SPREAD = 0.9
# What was said at the time that the query names has so much for it alone, and a cosine that would be noise elsewhere
# still tells which of them is meant. What was said at another time counts so much.
THAT_TIME, FAINT = 0.25, 0.2
OTHER_TIME = 0.4


class Evidence(NamedTuple):
    """One passage: its cosine to the query (0 where the vector index did not name it) and the words it holds.
    `title`: of its conversation."""

    chunk_id: str
    conversation_id: str
    cosine: float = 0.0
    words: frozenset[str] = frozenset()
    title: str = ""


class Ranked(NamedTuple):
    """`chunk_id`: of the passage that speaks for it; None where the title alone does."""

    chunk_id: str | None
    conversation_id: str
    score: float  # 0..1
    why: Why


class Rarity:
    """How much it says that a word occurs: much for a rare one, next to nothing for one that is everywhere."""

    def __init__(self, frequencies: Mapping[str, int], total: int) -> None:
        """`frequencies`: in how many of `total` passages each term of the query occurs."""
        self._total = max(total, 1)
        self._weights = {term: math.log1p(self._total / (1 + count)) for term, count in frequencies.items()}
        self.shares = {term: weight**2 for term, weight in self._weights.items()}  # of a query, before their sum is 1
        self._all = math.fsum(self.shares.values())
        self._known: dict[frozenset[str], float] = {}  # many passages have the same few of a query's words

    def confidence(self, matched: frozenset[str]) -> float:
        """How surely one with these words is meant: the share of the query's weight that it has (squared, so that a
        common word that is missing says little), times the root of how rare its rarest word is."""
        found = self._known.get(matched)
        if found is None:
            found = self._known[matched] = self._confidence(matched)
        return found

    def _confidence(self, matched: frozenset[str]) -> float:
        held = self._weights.keys() & matched
        if not held or not self._all:
            return 0.0
        share = math.fsum(self.shares[term] for term in held) / self._all
        rarest = max(self._weights[term] for term in held) / math.log1p(self._total / 2)
        return share * min(1.0, rarest) ** 0.5


def rank(found: Iterable[Evidence], rarity: Rarity, least_cosine: float) -> list[Ranked]:
    """The passages, the surest first; equal ones in the order of their ids. A cosine below `least_cosine` is noise."""
    ranked = []
    for one in found:
        meaning, text = _meaning(one.cosine, least_cosine), rarity.confidence(one.words)
        if meaning or text:
            ranked.append(_weighed(one, meaning, text))
    return sorted(ranked, key=lambda one: (-one.score, one.chunk_id or ""))


def rank_conversations(
    found: Iterable[Evidence],
    titles: Mapping[str, frozenset[str]],
    rarity: Rarity,
    least_cosine: float,
    then: Collection[str] | None = None,
) -> list[Ranked]:
    """Each conversation once: the meaning of its nearest passage, and the words of its best one, or of all and the
    title together. `titles`: the query's words in them, by conversation id; `then`: those of the time that the query
    names, if it names one."""
    of: dict[str, list[Evidence]] = {}
    for one in found:
        of.setdefault(one.conversation_id, []).append(one)
    ranked = []
    for conversation_id, passages in of.items():
        best = passages[0]
        meaning, text = _meaning(best.cosine, least_cosine), rarity.confidence(best.words)
        together = titles.get(conversation_id, frozenset()) | best.words
        if len(passages) > 1:
            sure = [(_meaning(one.cosine, least_cosine), rarity.confidence(one.words)) for one in passages]
            best = max(zip(sure, passages, strict=True), key=lambda pair: (_both(*pair[0]), pair[1].chunk_id))[1]
            meaning, text = max(meaning for meaning, _ in sure), max(words for _, words in sure)
            together = together.union(*(one.words for one in passages))
        speaks = bool(meaning or text)
        text = max(SPREAD * rarity.confidence(together), text)
        if then is not None and conversation_id in then:
            meaning = _both(THAT_TIME, max(meaning, *(FAINT * one.cosine for one in passages)))
        elif then is not None:
            meaning, text = OTHER_TIME * meaning, OTHER_TIME * text
        if speaks or (then is not None and conversation_id in then):
            ranked.append(_weighed(best, meaning, text))
        elif text:
            ranked.append(Ranked(None, conversation_id, text, "title"))
    return sorted(ranked, key=lambda one: (-one.score, one.conversation_id))


def reordered(wanted: Sequence[float], places: Sequence[int]) -> dict[int, int]:
    """Who stands at each of these places afterwards, the most wanted first; equal ones stay in their order."""
    order = sorted(range(len(places)), key=lambda at: -wanted[at])
    return {place: places[at] for place, at in zip(sorted(places), order, strict=True)}


def _weighed(one: Evidence, meaning: float, text: float) -> Ranked:
    return Ranked(one.chunk_id, one.conversation_id, _both(meaning, text), _why(meaning, text))


def _both(meaning: float, text: float) -> float:
    return 1.0 - (1.0 - meaning) * (1.0 - text)


def _meaning(cosine: float, least: float) -> float:
    if cosine < least:
        return 0.0
    return min(1.0, max(0.01, (cosine - COSINE_NOISE) / (COSINE_SURE - COSINE_NOISE)))


def _why(meaning: float, text: float) -> Why:
    """What it was found by; a side that is far behind the other is not named."""
    if not text or text < meaning / 4:
        return "vector"
    return "text" if meaning < text / 4 else "text+vector"
