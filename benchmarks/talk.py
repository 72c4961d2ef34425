"""What talkers say, what is heard of the answers, and how fast that was: plain data, so that it crosses processes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.gguf_model import WORDS


@dataclass(frozen=True, slots=True)
class Talk:
    """One talker: questions asked one after the other, each as soon as the one before is answered.

    `tokens` of each answer; `follow_up`: all in one conversation, else each in one of its own. `work` is the class of
    the request, where a system knows any. `beside`: given up once all who are not beside are done. The others are asked
    `after_s`, counted from when everything beside them has begun to be answered.
    """

    questions: list[str]
    tokens: int
    follow_up: bool = False
    work: str = "chat"
    after_s: float = 0.0
    beside: bool = False


@dataclass(slots=True)
class Heard:
    """One answer. Seconds of CLOCK_MONOTONIC, which all processes share; `times` are those of its pieces."""

    asked: float
    times: list[float] = field(default_factory=list)
    text: str = ""
    ended: float | None = None  # None: given up
    prompt_tokens: int | None = None  # None where it is not told, as below
    tokens: int | None = None
    job_id: str = ""

    @property
    def first_s(self) -> float:
        return self.times[0] - self.asked


def questions(count: int, words: int, seed: int) -> list[str]:
    """Each of that many words, and each word is one token. No two go on alike."""
    chance = random.Random(seed)
    known = WORDS.split()
    return [" ".join(["the", *chance.choices(known, k=words - 1)]) for _ in range(count)]


def firsts(answers: Iterable[Heard]) -> list[float]:
    """Seconds until the first token of each."""
    return [answer.first_s for answer in answers]


def tokens_per_second(answers: Sequence[Heard], tokens: int) -> float:
    """Of whole answers of so many tokens, from the first question to the last token."""
    ends = [answer.ended for answer in answers if answer.ended is not None]
    return len(ends) * tokens / (max(ends) - min(answer.asked for answer in answers))
