"""A model whose answers are made up from what it is asked, and which remembers every request."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from workers.ports import ChatRequest, Completion, Delta, LanguageModel, SummaryRequest, Turn
from workers.summaries import prompts

START = datetime(2025, 1, 1, tzinfo=UTC)


class Scripted:
    """Words are tokens. It answers three words, `says` in place of them where that is set."""

    name = provider = "scripted"
    abilities: frozenset[str] = frozenset()

    def __init__(self, context_tokens: int = 800) -> None:
        self.context_tokens = context_tokens
        self.requests: list[ChatRequest] = []
        self.says: Callable[[ChatRequest], str] = answer_to
        self.before: Callable[[int], None] = lambda _number: None  # called with each request's number, from 1
        self.between: Callable[[], None] = lambda: None  # … and before each word
        self.held = 0
        self._lock = threading.Lock()

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        assert self.held, "a model is used while it is held"
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        self.before(number)
        words = self.says(request).split(" ")
        for place in range(len(request.resume_tokens), len(words)):
            self.between()
            if cancelled():
                yield Completion("cancelled", 10, place)
                return
            yield Delta(words[place] + (" " if place < len(words) - 1 else ""), (place,))
        yield Completion("stop", 10, len(words))

    @contextmanager
    def use(self) -> Iterator[LanguageModel]:
        self.held += 1
        try:
            yield self
        finally:
            self.held -= 1

    # --- what it was asked

    def asked(self, instruction: str) -> list[str]:
        """The quoted texts of the requests with this instruction."""
        return [quoted(request) for request in self.requests if request.messages[0].content == instruction]

    @property
    def counts(self) -> dict[str, int]:
        named = {"part": prompts.PART, "join": prompts.JOIN, "whole": prompts.WHOLE, "final": prompts.FINAL}
        found = {name: len(self.asked(instruction)) for name, instruction in named.items()}
        return {name: count for name, count in found.items() if count}


def quoted(request: ChatRequest) -> str:
    return request.messages[1].content.partition("<conversation>\n")[2].partition("\n</conversation>")[0]


def answer_to(request: ChatRequest) -> str:
    return f"Summary {hashlib.sha256(quoted(request).encode()).hexdigest()[:12]} ends."


def turns(count: int, start: int = 0) -> tuple[Turn, ...]:
    """Of 10 words and three tokens around them; a day goes by every 100."""
    return tuple(
        Turn(
            "user" if place % 2 == 0 else "assistant",
            f"Message number {place} says some more words than that.",
            START + timedelta(days=place // 100),
        )
        for place in range(start, start + count)
    )


def request_for(said: tuple[Turn, ...], **values: object) -> SummaryRequest:
    return SummaryRequest(title="A talk", turns=said, **values)  # type: ignore[arg-type]
