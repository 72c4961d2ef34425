"""Asking an engine, what the library alone would have said, and what must be true when all is quiet."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.workers.llm.answers import Answer as Said
from workers.engine.answer import Answer
from workers.engine.engine import Engine
from workers.engine.sequence import Prompt
from workers.llm.library import llama_cpp
from workers.ports import Completion, Delta, Sampling

WORDS = ("the", "question", "of", "time", "water", "people", "what", "is", "long", "day", "most", "words", "house")


class Reference:
    """Single requests, one after the other, on the library's own class."""

    def __init__(self, path: Path) -> None:
        self.llama = llama_cpp.Llama(str(path), n_ctx=1024, n_threads=1, n_threads_batch=1, verbose=False)

    def close(self) -> None:
        self.llama.close()

    def tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self.llama.tokenize(text.encode(), add_bos=False, special=True))

    def greedy(self, prompt: Sequence[int], count: int) -> tuple[int, ...]:
        self.llama.reset()
        drawn = self.llama.generate(list(prompt), temp=0.0)
        return tuple(token for token, _ in zip(drawn, range(count), strict=False))


def prompt_of(tokens: Sequence[int], *, max_tokens: int = 40, temperature: float = 0.0, **fields: Any) -> Prompt:
    drawing = {name: fields.pop(name) for name in Sampling.__dataclass_fields__ if name in fields}
    return Prompt(tuple(tokens), sampling=Sampling(temperature=temperature, max_tokens=max_tokens, **drawing), **fields)


def read(answer: Answer) -> Said:
    *deltas, end = answer.stream()
    assert isinstance(end, Completion)
    assert all(isinstance(delta, Delta) and delta.text for delta in deltas)
    return Said(tuple(deltas), end)  # type: ignore[arg-type]


def ask(engine: Engine, tokens: Sequence[int], **fields: Any) -> Said:
    return read(engine.submit(prompt_of(tokens, **fields)))


def sentences(count: int, seed: int = 0) -> list[str]:
    """Some begin alike."""
    chance = random.Random(seed)
    begins = ["", "the people of the house " * 8, "what is the time and " * 20]
    return [chance.choice(begins) + " ".join(chance.choices(WORDS, k=chance.randint(1, 60))) for _ in range(count)]


def wait_until_quiet(engine: Engine, timeout_s: float = 10.0) -> None:
    """Then no sequence holds a slot, and the real cache is what the book says."""
    end = time.monotonic() + timeout_s
    while engine._live or engine._scheduler.running or engine._scheduler.waiting or not engine._inbox.empty():
        assert time.monotonic() < end, "it does not become quiet"
        time.sleep(0.005)
    engine._inbox.put(None)  # the last trims belong to the next plan
    time.sleep(0.05)
    prefixes = engine._scheduler.prefixes
    assert not any(slot.busy for slot in prefixes.slots)
    assert not prefixes.operations
    for slot in prefixes.slots:
        assert engine._runner.cached(slot.number) == len(slot.tokens)
    assert prefixes.used == len({id(cell) for slot in prefixes.slots for cell in slot.cells})
    assert prefixes.used <= prefixes.room * (1 if prefixes.shared else len(prefixes.slots))
