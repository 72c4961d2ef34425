"""One request to a provider and all its tries: what was said before a cut is gone on after, until it is enough."""

from __future__ import annotations

import logging
import math
import queue
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from config.errors import DeadlineExceeded, ProviderUnavailable
from workers.llm.reader import Item, Reader
from workers.llm.seam import Seam
from workers.llm.trouble import TryAgain
from workers.ports import ChatRequest, Completion, Delta

if TYPE_CHECKING:
    from workers.llm.remote import RemoteModel

log = logging.getLogger(__name__)

_POLL_S = 0.1  # how soon a cancel is seen while nothing comes
_FIRST_PAUSE_S = 0.5
# A try that said this much was worth its prompt: failures are counted anew. Otherwise a provider that cuts after every
# word would be asked, and paid, once for each.
_WORTH_CHARS = 200
_BYTES_PER_TOKEN = 4  # of ordinary text; counting from above would end answers early


def likely_tokens(text: str) -> int:
    """What nobody counted."""
    return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)


class Tries:
    def __init__(self, model: RemoteModel, request: ChatRequest, cancelled: Callable[[], bool]) -> None:
        self._model, self._request = model, request
        self._deadline = None if request.deadline_s is None else time.monotonic() + request.deadline_s
        self._cancelled = cancelled
        self._said = request.resume_text  # at the beginning of this try
        self._now: list[str] = []  # what this try said, shown or not
        self._now_bytes = 0
        self._spent = likely_tokens(request.resume_text)  # tokens of tries that were cut
        self._failures = 0
        # A document that must fit a schema cannot be continued, only written anew: it is shown when it is complete.
        self._holds_back = request.sampling.response_format is not None and not request.resume_text
        if not self._holds_back:
            self._request = replace(request, sampling=replace(request.sampling, response_format=None))

    def run(self) -> Iterator[Item]:
        """Deltas and one Completion. Raises what LanguageModel.stream raises."""
        while True:
            held: list[Delta] = []
            try:
                for item in self._try_once():
                    if isinstance(item, Completion):
                        yield from held if item.finish_reason != "cancelled" else ()
                        yield self._total(item)
                        return
                    self._now.append(item.text)
                    self._now_bytes += len(item.text.encode("utf-8", "replace"))
                    if self._holds_back:
                        held.append(item)
                    else:
                        yield item
                raise TryAgain("The connection was closed in the middle of the answer.")
            except TryAgain as trouble:
                if not self._pause(trouble):
                    yield self._total(Completion("cancelled", 0, 0))
                    return

    def _try_once(self) -> Iterator[Item]:
        seam = Seam(self._said, self._request.sampling.stop, prefilled=self._model.can_prefill)
        request = self._next_request()
        if seam.stopped or request is None:
            yield Completion("stop" if seam.stopped else "length", 0, 0)
            return
        if self._cancelled():
            yield Completion("cancelled", 0, 0)
            return
        with Reader(self._model.provider, lambda: self._model._open(request), self._model.understood) as reader:
            for item in self._taken(reader):
                if isinstance(item, Completion):
                    if item.finish_reason != "cancelled":  # else it may go on later
                        yield from seam.finish()
                    yield replace(item, finish_reason="stop") if seam.stopped else item
                    return
                yield from seam.feed(item)
                if seam.stopped or self._is_long_enough:
                    yield Completion("stop" if seam.stopped else "length", 0, 0)
                    return

    def _taken(self, reader: Reader) -> Iterator[Item]:
        while True:
            if self._cancelled():
                yield Completion("cancelled", 0, 0)
                return
            self._check_deadline()
            try:
                item = reader.take(_POLL_S)
            except queue.Empty:
                continue
            if item is None:
                return
            yield item

    def _next_request(self) -> ChatRequest | None:
        """What is left to be said, asked for; None where nothing is left of the window or of what was allowed."""
        messages = self._model.continued(self._request.messages, self._said)
        room = self._model.context_tokens - self._model.needed_tokens(replace(self._request, messages=messages))
        left = self._left()
        if left <= 0 or room <= 0:
            return None
        most = min(left + self._model.thinking_tokens, self._model.spec.output_tokens, room)
        return replace(self._request, messages=messages, sampling=replace(self._request.sampling, max_tokens=most))

    def _left(self) -> int:
        """Of what was allowed, when this try began."""
        return self._request.sampling.max_tokens - likely_tokens(self._said)

    @property
    def _is_long_enough(self) -> bool:
        """Where a provider's own limit has room for thinking in it, the answer's is kept here."""
        return self._model.thinking_tokens > 0 and self._now_tokens > self._left()

    @property
    def _now_tokens(self) -> int:
        return math.ceil(self._now_bytes / _BYTES_PER_TOKEN)

    def _total(self, last: Completion) -> Completion:
        """What the tries before the last one cost counts too; nobody told how many tokens that was."""
        prompt = last.prompt_tokens or sum(likely_tokens(message.content) for message in self._request.messages)
        told = last.completion_tokens or self._now_tokens
        return replace(last, prompt_tokens=prompt, completion_tokens=self._spent + told)

    def _check_deadline(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise DeadlineExceeded("The answer was not complete at its deadline.")

    def _pause(self, trouble: TryAgain) -> bool:
        """Wait before the next try; False when the answer was cancelled meanwhile. Raises ProviderUnavailable when it
        is enough, or the provider wants a longer pause than an attendant should be held for."""
        was_cut, was_worth_it = bool(self._now), self._begin_anew()
        self._failures = 1 if was_worth_it else self._failures + 1
        wait = trouble.after_s
        if wait is None:
            growing = _FIRST_PAUSE_S * 2 ** (self._failures - 1) * random.uniform(0.5, 1.5)  # noqa: S311
            wait = 0.0 if was_cut else growing
        if self._failures > self._model.max_retries or wait > self._model.max_wait_s:
            headers = {"Retry-After": str(math.ceil(wait))} if trouble.after_s is not None else None
            raise ProviderUnavailable(f"{self._model.label} cannot answer now: {trouble.reason}", headers=headers)
        log.warning("%s: %s Trying again in %.1f s.", self._model.label, trouble.reason, wait)
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            if self._cancelled():
                return False
            self._check_deadline()
            time.sleep(min(left, _POLL_S))
        return True

    def _begin_anew(self) -> bool:
        """Put away what the last try said; True where that was worth its prompt."""
        now = "".join(self._now)
        self._spent += self._now_tokens
        self._now, self._now_bytes = [], 0
        if self._holds_back:
            return False
        self._said += now
        return len(now) >= _WORTH_CHARS
