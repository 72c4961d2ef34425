"""A summary without a language model: says so, and quotes the sentences that stand for most of what was said.

LexRank: sentences are nodes, joined as strongly as their words are alike; a walk along the joints comes by the central
ones most often. Pure arithmetic over words, the same in every process.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from config.catalogue import EXTRACTIVE
from workers.embedding.chunking import sentences
from workers.ports import Completion, Delta, SummaryRequest, SummaryStep, Turn

NOTICE = "No language model is loaded, so this is no written summary; it quotes what stands for most of it."
HELP = "To get written summaries, run `backchannel models pull`, or set `MODEL_PATH` or a provider's key and restart."

MAX_QUOTES = 8
MAX_QUOTE_CHARS = 300
# What is looked at, spread evenly over the conversation: 50,000 messages take no longer than 3,000, about 2 s.
MAX_TURNS, MAX_TURN_SENTENCES, MAX_SENTENCES = 3000, 8, 600
_MIN_WORDS, _MAX_WORDS = 4, 60
_MAX_TURN_CHARS = 8000
_DAMPING, _ROUNDS = 0.85, 30
# A quote this much like an earlier one says nothing new.
_SAME = 0.6

_FENCED = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
# A word, or a character of a script that puts no spaces between words.
_TERM = re.compile(r"[\u2e80-\U0003ffff]|[^\W_\u2e80-\U0003ffff]+")
_PIECE = re.compile(r"\s*\S+|\s+$")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Sentence:
    turn: int
    speaker: str
    text: str


class ExtractiveSummarizer:
    name = provider = EXTRACTIVE

    def __init__(self, problem: str | None = None) -> None:
        """`problem`: why the configured model is not there, as one sentence."""
        self._problem = problem

    def summarize(
        self, request: SummaryRequest, cancelled: Callable[[], bool]
    ) -> Generator[SummaryStep | Delta | Completion, None, None]:
        yield SummaryStep(0, 1, "parts", "final")
        text = self._text(request)
        said = request.resume_text
        # When an earlier attempt read other messages, the blocks it has not said.
        rest = text[len(said) :] if text.startswith(said) else _new_blocks(text, said)
        for piece in _PIECE.findall(rest):
            if cancelled():
                yield Completion("cancelled", 0, 0)
                return
            yield Delta(piece)
        yield Completion("stop", sum(len(turn.content.split()) for turn in request.turns), len(text.split()))

    def _text(self, request: SummaryRequest) -> str:
        turns = [turn for turn in request.turns if turn.content.strip()]
        quotes = [f"> {one.speaker}: {_short(one.text)}" for one in best_sentences(turns)]
        if not quotes:  # nothing but code, or a few words
            quotes = [f"> {turn.role.capitalize()}: {_short(turn.content)}" for turn in turns[:MAX_QUOTES]]
        notice = " ".join(filter(None, (NOTICE, self._problem, HELP)))
        return "\n\n".join((notice, _extent(request.title, turns), *quotes))


def _new_blocks(text: str, said: str) -> str:
    return "".join(f"\n\n{block}" for block in text.split("\n\n") if block not in said)


def _extent(title: str, turns: Sequence[Turn]) -> str:
    days = [turn.said_at.date().isoformat() for turn in turns if turn.said_at]
    when = f", {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "") if days else ""
    name = " ".join(title.split())
    return f"{f'“{name}”: ' if name else ''}{len(turns)} message{'s' * (len(turns) != 1)}{when}."


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_QUOTE_CHARS else f"{line[:MAX_QUOTE_CHARS].rstrip()}…"


def best_sentences(turns: Sequence[Turn]) -> list[_Sentence]:
    """The most central sentences that are not alike, in the order they were said."""
    found = _spread(list(_sentences(turns)), MAX_SENTENCES)
    if not found:
        return []
    alike = _similarity([sentence.text for sentence in found])
    chosen: list[int] = []
    for place in np.argsort(-_lex_rank(alike), kind="stable"):
        if all(alike[place, other] < _SAME for other in chosen):
            chosen.append(int(place))
        if len(chosen) == MAX_QUOTES:
            break
    return [found[place] for place in sorted(chosen)]


def _sentences(turns: Sequence[Turn]) -> Iterator[_Sentence]:
    for place, turn in _spread(list(enumerate(turns)), MAX_TURNS):
        text = _FENCED.sub("\n", turn.content[:_MAX_TURN_CHARS])
        lines = [line.strip(" \t#>*-") for line in text.splitlines()]
        spoken = [
            line[start:end]
            for line in lines
            for start, end in sentences(line)
            if _MIN_WORDS <= len(line[start:end].split()) <= _MAX_WORDS or _is_unspaced(line[start:end])
        ]
        for sentence in spoken[:MAX_TURN_SENTENCES]:
            yield _Sentence(place, turn.role.capitalize(), sentence)


def _is_unspaced(text: str) -> bool:
    """A sentence of a script that puts no spaces between words."""
    return len(text) >= 8 and sum(letter >= "\u2e80" for letter in text) * 2 > len(text)


def _spread(values: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly chosen, the first among them."""
    return [values[place * len(values) // most] for place in range(most)] if len(values) > most else list(values)


def _similarity(texts: Sequence[str]) -> NDArray[np.float64]:
    """Cosine of word counts in which what stands in many sentences counts for little. Shape (n, n), 0 to 1."""
    counts = [Counter(_TERM.findall(text.casefold())) for text in texts]
    columns = {term: column for column, term in enumerate(dict.fromkeys(term for one in counts for term in one))}
    vectors = np.zeros((len(texts), len(columns) + 1))
    for row, one in enumerate(counts):
        for term, count in one.items():
            vectors[row, columns[term]] = 1 + math.log(count)
    vectors *= np.log((1 + len(texts)) / (1 + (vectors > 0).sum(axis=0))) + 0.1
    vectors[~vectors.any(axis=1), -1] = 1.0  # no words at all
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.clip(vectors @ vectors.T, 0, 1)


def _lex_rank(alike: NDArray[np.float64]) -> NDArray[np.float64]:
    count = len(alike)
    steps = alike / alike.sum(axis=1, keepdims=True)
    rank = np.full(count, 1 / count)
    for _ in range(_ROUNDS):
        rank = (1 - _DAMPING) / count + _DAMPING * (steps.T @ rank)
    return rank.round(12)  # equal ones stay equal on every processor
