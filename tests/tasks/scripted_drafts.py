"""A model for drafts and talks about them: says what the test tells it to, a few characters at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from workers import registry
from workers.ports import ChatRequest, Completion, Delta, LanguageModel, ToolCall

STEP = 7  # characters


class Scripted:
    """`answers`: one for each request, a text, or a text and calls. It goes on behind what it is told it said."""

    name, provider = "scripted", "scripted"

    def __init__(self, context_tokens: int = 100_000, *abilities: str) -> None:
        self.context_tokens = context_tokens
        self.abilities = frozenset(abilities or ("json_schema", "tools"))
        self.requests: list[ChatRequest] = []
        self.answers: list[str | tuple[str, list[ToolCall]]] = []
        self.answer: Callable[[ChatRequest], str] | None = None
        self.before: Callable[[int, int], None] = lambda _request, _place: None
        self.held = 0

    def count_tokens(self, text: str) -> int:
        assert self.held, "a model is used while it is held"
        return len(text.split())

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        assert self.held, "a model is used while it is held"
        self.requests.append(request)
        number = len(self.requests)
        planned = self.answer(request) if self.answer is not None else self.answers[0]
        text, calls = planned if isinstance(planned, tuple) else (planned, [])
        assert text.startswith(request.resume_text), (text, request.resume_text)
        for place in range(len(request.resume_text), len(text), STEP):
            self.before(number, place)
            if cancelled():
                yield Completion("cancelled", 10, place)
                return
            yield Delta(text[place : place + STEP])
        self.before(number, len(text))
        if self.answer is None:
            self.answers.pop(0)
        yield Completion("tool_calls" if calls else "stop", 10, 5, tool_calls=tuple(calls))


@contextmanager
def scripted(monkeypatch: pytest.MonkeyPatch, model: Scripted) -> Iterator[Scripted]:
    @contextmanager
    def language_model(name: str | None, on_wait: object = None) -> Iterator[LanguageModel]:
        assert name in (None, "scripted/scripted", "scripted"), name
        model.held += 1
        try:
            yield model
        finally:
            model.held -= 1

    monkeypatch.setattr(registry, "language_model", language_model)
    yield model
