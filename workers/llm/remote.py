"""What every provider's adapter shares: checks before anything is sent, a reader that can be left, retries,
and going on after a cut.

An adapter is a subclass with two methods: `_open` starts one stream, `_translate` puts the SDK's errors into our words.
Keys stay inside the SDK's client; no message of ours repeats what a provider wrote, but for its own error sentence.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from config.catalogue import ModelSpec, ProviderSpec
from config.errors import BackchannelError, DeadlineExceeded, PromptTooLong, ProviderUnavailable, Unusable
from config.settings import Settings
from workers.ports import ChatMessage, ChatRequest, Completion, Delta

log = logging.getLogger(__name__)

# Nobody tells how many tokens a picture is before it is sent; a large one costs about this many.
ATTACHMENT_TOKENS = 1600
TOKENS_PER_MESSAGE = 8
# The one instruction that makes a model without prefill go on in the middle of its answer.
GO_ON = (
    "Your last answer was cut off by the network. Go on exactly where it stops, in the middle of the word if need be. "
    "Repeat nothing, explain nothing, apologise for nothing."
)
# A model that repeats some of what it said before going on repeats at most this much.
_MAX_OVERLAP, _MIN_OVERLAP = 200, 12

_POLL_S = 0.25
_FIRST_PAUSE_S = 0.5
# Bearer tokens and keys, should a provider's error sentence quote one.
_SECRET = re.compile(r"(?i)\b(?:sk|xai|key|AIza|Bearer)[-_ ][\w.\-]{6,}|AIza[\w\-]{10,}")


class TryAgain(Exception):
    """What may pass by itself: too many requests, an overloaded server, a connection that was cut.
    `after_s`: when the provider wants to be asked again, if it said so."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


Item = Delta | Completion
Opened = AbstractContextManager[Iterator[Item]]


class RemoteModel(ABC):
    can_prefill = False  # an answer's beginning may be sent as the last message, and is continued

    def __init__(self, provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> None:
        self.spec = spec
        self.name = spec.id
        self.provider = provider.id
        self.label = provider.label
        self.context_tokens = spec.context_tokens
        self.abilities = spec.abilities
        self._retries = settings.provider_max_retries
        self._max_wait_s = settings.provider_max_wait_s

    # --- what an adapter does

    @abstractmethod
    def _open(self, request: ChatRequest) -> Opened:
        """Start one stream: on entering the request is sent, the iterator yields deltas and one Completion, leaving
        closes the connection, also from another thread and also twice. `request.messages` are final: passages are in
        them, and so is what was said before a cut."""

    @abstractmethod
    def _translate(self, error: Exception) -> BackchannelError | TryAgain | None:
        """An SDK's error in our words; None for one that is not the provider's."""

    # --- LanguageModel

    def count_tokens(self, text: str) -> int:
        """An estimate from above: 3 bytes of UTF-8 are rarely more than one token, in any script."""
        return math.ceil(len(text.encode("utf-8", "replace")) / 3)

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Item]:
        # imported late: prompt.py is pure and stays so
        from workers.llm.prompt import with_passages

        request = replace(request, messages=with_passages(request.messages, request.passages), passages=())
        self._check(request)
        yield from _Talk(self, request, cancelled).run()

    # --- checks

    def _check(self, request: ChatRequest) -> None:
        """Raises PromptTooLong, Unusable: before anything is sent, and paid for."""
        needed = sum(
            self.count_tokens(message.content) + TOKENS_PER_MESSAGE + ATTACHMENT_TOKENS * len(message.attachments)
            for message in request.messages
        )
        if needed >= self.context_tokens:
            raise PromptTooLong(
                f"The prompt has about {needed} tokens; the model {self.name} reads {self.context_tokens} together "
                "with its answer."
            )
        for ability, wanted in self._wanted(request).items():
            if wanted and ability not in self.abilities:
                raise Unusable(f"The model {self.name} cannot do that: it has no {_ABILITY_WORDS[ability]}.")

    def _wanted(self, request: ChatRequest) -> dict[str, bool]:
        kinds = [attachment.mime_type for message in request.messages for attachment in message.attachments]
        form = (request.sampling.response_format or {}).get("type")
        return {
            "tools": bool(request.tools),
            "pdf": "application/pdf" in kinds,
            "vision": any(kind.startswith("image/") for kind in kinds),
            "grammar": form == "grammar",
            "json_schema": form in ("json_schema", "json_object"),
        }

    def continued(self, messages: Sequence[ChatMessage], said: str) -> tuple[ChatMessage, ...]:
        """The messages with which an answer is asked for that goes on after `said`."""
        if not said:
            return tuple(messages)
        if self.can_prefill:  # white space at the end of a prefill is refused, and comes back by itself
            return (*messages, ChatMessage("assistant", said.rstrip()))
        return (*messages, ChatMessage("assistant", said), ChatMessage("user", GO_ON))


_ABILITY_WORDS = {
    "tools": "tools",
    "pdf": "reader for PDF documents",
    "vision": "eyes for pictures",
    "grammar": "grammars",
    "json_schema": "JSON schemas",
}


class _Talk:
    """One request and all its tries."""

    def __init__(self, model: RemoteModel, request: ChatRequest, cancelled: Callable[[], bool]) -> None:
        self.model, self.request = model, request
        self.said = request.resume_text
        self.deadline = None if request.deadline_s is None else time.monotonic() + request.deadline_s
        self._cancelled = cancelled
        self._failures = 0

    def run(self) -> Iterator[Item]:
        while True:
            try:
                progress = False
                for item in self._try_once():
                    progress = True
                    if isinstance(item, Completion):
                        yield self._total(item)
                        return
                    self.said += item.text
                    yield item
                raise TryAgain("The connection was closed in the middle of the answer.")
            except TryAgain as trouble:
                if progress:
                    self._failures = 0
                self._failures += 1
                if not self._pause(trouble):
                    yield self._total(Completion("cancelled", 0, 0))
                    return

    def _try_once(self) -> Iterator[Item]:
        request = replace(self.request, messages=self.model.continued(self.request.messages, self.said))
        overlap = _Overlap("" if self.model.can_prefill else self.said, self.said)
        with _Reader(self.model, request) as reader:
            while True:
                if self._cancelled():
                    yield Completion("cancelled", 0, 0)
                    return
                if self.deadline is not None and time.monotonic() > self.deadline:
                    raise DeadlineExceeded("The answer was not complete at its deadline.")
                try:
                    item = reader.take(_POLL_S)
                except queue.Empty:
                    continue
                if isinstance(item, Delta):
                    if text := overlap.feed(item.text):
                        yield replace(item, text=text)
                    continue
                if rest := overlap.finish():
                    yield Delta(rest)
                if item is not None:
                    yield item
                return

    def _total(self, completion: Completion) -> Completion:
        """What came before the last try counts too; nobody told how many tokens it was."""
        before = self.model.count_tokens(self.request.resume_text) if self.request.resume_text else 0
        told = completion.completion_tokens
        if completion.finish_reason == "cancelled" or self._failures:
            told = max(told, self.model.count_tokens(self.said) - before)
        prompt = completion.prompt_tokens or sum(
            self.model.count_tokens(message.content) + TOKENS_PER_MESSAGE for message in self.request.messages
        )
        return replace(completion, prompt_tokens=prompt, completion_tokens=before + told)

    def _pause(self, trouble: TryAgain) -> bool:
        """Wait before the next try; False when the answer was cancelled meanwhile. Raises ProviderUnavailable when it
        is enough, or the provider wants a longer pause than an attendant should be held for."""
        wait = trouble.after_s
        if wait is None:
            wait = _FIRST_PAUSE_S * 2 ** (self._failures - 1) * random.uniform(0.5, 1.5)  # noqa: S311
        if self._failures > self.model._retries or wait > self.model._max_wait_s:
            headers = {"Retry-After": str(math.ceil(wait))} if trouble.after_s is not None else None
            raise ProviderUnavailable(f"{self.model.label} cannot answer now: {trouble.reason}", headers=headers)
        log.warning("%s: %s trying again in %.1f s", self.model.label, trouble.reason, wait)
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            if self._cancelled():
                return False
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise DeadlineExceeded("The answer was not complete at its deadline.")
            time.sleep(min(left, _POLL_S))
        return True


class _Reader:
    """Reads a stream in a thread of its own: whoever takes from it can leave while the provider is silent."""

    def __init__(self, model: RemoteModel, request: ChatRequest) -> None:
        self._model, self._request = model, request
        self._items: queue.SimpleQueue[Item | Exception | None] = queue.SimpleQueue()
        self._left = threading.Event()
        self._opened: Opened | None = None

    def __enter__(self) -> _Reader:
        threading.Thread(target=self._read, name=f"read {self._model.provider}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        if self._opened is not None:
            try:
                self._opened.__exit__(None, None, None)
            except Exception as error:  # it is being read at this very moment
                log.debug("closing a stream: %s", type(error).__name__)

    def take(self, timeout_s: float) -> Item | None:
        """The next item, None at an end without a Completion. Raises queue.Empty, TryAgain, BackchannelError."""
        item = self._items.get(timeout=timeout_s)
        if isinstance(item, Exception):
            raise item
        return item

    def _read(self) -> None:
        try:
            self._opened = opened = self._model._open(self._request)
            for item in opened.__enter__():
                if self._left.is_set():
                    break
                self._items.put(item)
            else:
                self._items.put(None)
        except (BackchannelError, TryAgain) as error:
            self._items.put(error)
        except Exception as error:
            self._items.put(self._model._translate(error) or error)
        finally:
            if self._left.is_set() and self._opened is not None:
                self._opened.__exit__(None, None, None)


@dataclass(slots=True)
class _Overlap:
    """Leaves out what a continuation repeats of what was said before it. `said` empty: nothing is looked for."""

    said: str
    before: str
    _held: str = ""
    _done: bool = False

    def feed(self, text: str) -> str:
        if self._done or not self.said:
            return self._first(text)
        self._held += text
        if len(self._held) < _MAX_OVERLAP and self._may_repeat():
            return ""
        return self._release()

    def finish(self) -> str:
        return self._release() if self._held else ""

    def _may_repeat(self) -> bool:
        """Some place near the end of what was said goes on like what is held."""
        return self._held[:_MIN_OVERLAP] in self.said[-_MAX_OVERLAP - len(self._held) :]

    def _release(self) -> str:
        held, self._held, self._done = self._held, "", True
        for length in range(min(len(held), len(self.said), _MAX_OVERLAP), _MIN_OVERLAP - 1, -1):
            if self.said.endswith(held[:length]):
                return held[length:]
        return held

    def _first(self, text: str) -> str:
        """White space that a prefill lost is not said twice when it comes back."""
        if not self._done and not self.said and self.before:
            space = self.before[len(self.before.rstrip()) :]
            text = text[len(space) :] if space and text.startswith(space) else text
        self._done = True
        return text


def retry_after_s(value: str | None) -> float | None:
    """Retry-After as providers send it: seconds, or an HTTP date. None when it says nothing usable."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def sentence(text: object) -> str:
    """A provider's own words, short, in one line and without anything that looks like a key."""
    words = _SECRET.sub("…", " ".join(str(text).split()))[:300].rstrip()
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."
