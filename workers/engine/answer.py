"""One request as its two sides see it: the loop, which draws tokens, and the attendant, who reads them."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from config.errors import BackchannelError
from workers.engine.model import Model
from workers.engine.sampler import Sampler
from workers.engine.sequence import Prompt, Sequence
from workers.llm.answer import AnswerText
from workers.ports import Completion, Delta, TokenLogprob

Reason = Literal["stop", "length", "cancelled"]

# How long an attendant waits for a token before asking again whether it is still wanted.
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class _Held:
    """A token was drawn whose text cannot be shown yet."""


@dataclass(frozen=True, slots=True)
class _End:
    rest: Delta | None
    completion: Completion


_HELD = _Held()


class Live:
    """The loop's side; used by its thread only."""

    def __init__(self, model: Model, prompt: Prompt, sequence: Sequence) -> None:
        self.prompt, self.sequence = prompt, sequence
        self.events: queue.SimpleQueue[Delta | _Held | _End | BackchannelError] = queue.SimpleQueue()
        self.text = AnswerText(prompt.sampling.stop, already=prompt.shown)
        self.sampler = Sampler(model, prompt)
        self.drawn = len(prompt.resumed)
        self._model = model
        self._logprobs: deque[TokenLogprob] = deque()

    @property
    def over(self) -> Reason | None:
        if self.text.stopped:
            return "stop"
        return "length" if len(self.sequence.tokens) >= self.sequence.limit else None

    def draw(self, context: Any, place: int) -> Reason | None:
        """Draws a token and tells it; why the answer ends here, if it does."""
        token = self.sampler.draw(context, place)
        if token is None or self._model.ends_answer(token):
            return "stop"
        logprob = self.sampler.logprob(context, place, token)
        if logprob is not None:
            self._logprobs.append(logprob)
        self.sequence.tokens.append(token)
        self.drawn += 1
        delta = self.text.feed(token, self._model.piece(token))
        self.events.put(_HELD if delta is None else self._with_logprobs(delta))
        return self.over

    def end(self, reason: Reason) -> None:
        rest = None
        if reason == "length" and self.drawn < self.prompt.sampling.max_tokens:
            # The context is full, and may be made room in: who goes on finds whole characters.
            rest = self.text.whole()
            self.drawn -= self.text.held
        elif reason != "cancelled":  # of which what is held back stays unsaid: who resumes it finds whole tokens
            rest = self.text.finish()
        completion = Completion(reason, len(self.prompt.tokens), self.drawn)
        self.events.put(_End(self._with_logprobs(rest) if rest else None, completion))
        self.sampler.close()

    def fail(self, error: BackchannelError) -> None:
        self.events.put(error)
        self.sampler.close()

    def _with_logprobs(self, delta: Delta) -> Delta:
        if self.prompt.sampling.logprobs is None:
            return delta
        told = tuple(self._logprobs.popleft() for _ in delta.tokens)
        return Delta(delta.text, delta.tokens, told)


class Answer:
    """The attendant's side: what is drawn waits here until it is read, however slow the reader is."""

    def __init__(self, live: Live, wake: Callable[[], None]) -> None:
        self._live = live
        self._wake = wake

    @property
    def sequence(self) -> Sequence:
        return self._live.sequence

    def cancel(self) -> None:
        """Frees the slot at the next step. Harmless when it is over."""
        self._live.sequence.cancelled = True
        self._wake()

    def stream(self, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Delta | Completion]:
        """Deltas, then one Completion; `cancelled` is asked between tokens. Whoever stops reading cancels. Raises
        BackchannelError when the engine fails."""
        prompt, ended, read = self._live.prompt, False, 0
        try:
            while not cancelled():
                try:
                    event = self._live.events.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                ended = isinstance(event, _End | BackchannelError)
                if isinstance(event, BackchannelError):
                    raise event
                if isinstance(event, _End):
                    if event.rest is not None:
                        yield event.rest
                    yield event.completion
                    return
                read += 1
                if isinstance(event, Delta):
                    yield event
            # Of what was drawn meanwhile nothing counts: the answer is what was read of it.
            yield Completion("cancelled", len(prompt.tokens), len(prompt.resumed) + read)
        finally:
            if not ended:
                self.cancel()
