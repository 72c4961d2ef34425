"""Where one try's text meets what was said before: nothing is said twice, no stop string is shown, characters are
whole."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from workers.llm.answer import AnswerText
from workers.ports import Delta, TokenLogprob

# A model that repeats some of what it said before going on repeats up to this much, or all of it from the start.
_MAX_REPEAT = 200
# Shorter likenesses are chance. Not so after a letter: what goes on there goes on in the word, or after a space.
_MIN_REPEAT, _MIN_AFTER_LETTER = 12, 3
_WORD = re.compile(r"[^\W\d_]+")


class Seam:
    def __init__(self, said: str, stop: Sequence[str] = (), *, prefilled: bool = False) -> None:
        """`prefilled`: the model was given `said`, but for white space at its end, as the beginning of its answer."""
        self._said = said
        self._characters = codecs.getincrementaldecoder("utf-16-le")("replace")
        self._starts = _prefill_starts(said) if prefilled else _repeat_starts(said)
        self._prefilled = prefilled
        self._held: list[Delta] = []  # may be a repetition
        self._answer = AnswerText(stop, said)
        self._count = 0
        self._logprobs: dict[int, tuple[TokenLogprob, ...]] = {}  # by the number under which AnswerText has them

    @property
    def stopped(self) -> bool:
        """A stop string was found; the answer ends before it."""
        return self._answer.stopped

    def feed(self, delta: Delta) -> Iterator[Delta]:
        # JSON may carry a character beyond U+FFFF as two halves, and a stream may be cut between them
        text = self._characters.decode(delta.text.encode("utf-16-le", "surrogatepass"))
        delta = replace(delta, text=text)
        if not self._starts:
            yield from self._show([delta])
            return
        self._held.append(delta)
        if not self._may_be_repeating():
            yield from self._show(self._released())

    def finish(self) -> Iterator[Delta]:
        """What was held back, at the end of the answer."""
        rest = self._characters.decode(b"", final=True)
        yield from self._show([*self._released(), *([Delta(rest)] if rest else [])])
        if last := self._answer.finish():
            yield self._shown(last)

    def _may_be_repeating(self) -> bool:
        held = self._held_text
        self._starts = [
            start for start in self._starts if self._said.startswith(held, start) or held.startswith(self._said[start:])
        ]
        return any(len(self._said) - start > len(held) for start in self._starts)

    @property
    def _held_text(self) -> str:
        return "".join(delta.text for delta in self._held)

    def _released(self) -> list[Delta]:
        held, text = self._held, self._held_text
        if self._prefilled:
            space = self._said[len(self._said.rstrip()) :]
            pairs = zip(space, text, strict=False)
            repeated = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        else:
            tails = (self._said[start:] for start in self._starts)
            repeated = max((len(tail) for tail in tails if text.startswith(tail)), default=0)
        self._held, self._starts = [], []
        return list(_without(held, repeated))

    def _show(self, deltas: Iterable[Delta]) -> Iterator[Delta]:
        for delta in deltas:
            if self.stopped:
                return
            self._count += 1
            self._logprobs[self._count] = delta.logprobs
            if free := self._answer.feed(self._count, delta.text.encode("utf-8", "replace")):
                yield self._shown(free)

    def _shown(self, free: Delta) -> Delta:
        logprobs = [one for number in free.tokens for one in self._logprobs.pop(number)]
        return Delta(free.text, logprobs=_within(logprobs, len(free.text)))


def _prefill_starts(said: str) -> list[int]:
    bare = len(said.rstrip())
    return [bare] if bare < len(said) else []


def _repeat_starts(said: str) -> list[int]:
    """Where in `said` a repetition may begin."""
    starts = {*range(max(0, len(said) - _MAX_REPEAT), len(said) - _MIN_REPEAT + 1)}
    if len(said) >= _MIN_REPEAT:
        starts.add(0)
    if said[-1:].isalpha():
        words = _WORD.finditer(said, max(0, len(said) - _MIN_REPEAT))
        starts |= {word.start() for word in words if len(said) - word.start() >= _MIN_AFTER_LETTER}
    return sorted(starts)


def _without(deltas: Iterable[Delta], length: int) -> Iterator[Delta]:
    """The deltas without the first `length` characters."""
    for delta in deltas:
        if length < len(delta.text) or not length:
            logprobs = delta.logprobs[len(_within(delta.logprobs, length)) :] if length else delta.logprobs
            yield Delta(delta.text[length:], logprobs=logprobs)
        length = max(0, length - len(delta.text))


def _within(logprobs: Sequence[TokenLogprob], length: int) -> tuple[TokenLogprob, ...]:
    """Those of the tokens that begin within the first `length` characters."""
    kept: list[TokenLogprob] = []
    place = 0
    for one in logprobs:
        if place >= length:
            break
        kept.append(one)
        place += len(one.token) if isinstance(one.token, str) else 1
    return tuple(kept)
