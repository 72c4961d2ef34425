"""What a stream said, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.ports import ChatMessage, ChatRequest, Completion, Delta, LanguageModel, Sampling


@dataclass(frozen=True)
class Answer:
    deltas: tuple[Delta, ...]
    end: Completion

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for delta in self.deltas for token in delta.tokens)


def ask(
    model: LanguageModel,
    question: str = "Hello there",
    *,
    cancelled: Callable[[], bool] = lambda: False,
    resume: tuple[str, tuple[int, ...]] = ("", ()),
    **sampling: Any,
) -> Answer:
    request = ChatRequest(
        (ChatMessage("user", question),),
        sampling=Sampling(**{"temperature": 0.0, "max_tokens": 40, **sampling}),
        resume_text=resume[0],
        resume_tokens=resume[1],
    )
    return collect(model, request, cancelled)


def collect(model: LanguageModel, request: ChatRequest, cancelled: Callable[[], bool] = lambda: False) -> Answer:
    *deltas, end = model.stream(request, cancelled)
    assert all(isinstance(delta, Delta) and delta.text for delta in deltas)
    assert isinstance(end, Completion)
    return Answer(tuple(deltas), end)  # type: ignore[arg-type]
