"""Ways to run a sentence-transformers model, and which of them is the fastest here without losing quality."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional

log = logging.getLogger(__name__)

MIN_COSINE = 0.99  # to single precision, on average; below it search results begin to change places

# Of the kinds that arrive: prose, questions, code, lists, links, several scripts. They show how large numbers inside
# the model get, so the range matters more than the number.
SAMPLES = (
    "The quick brown fox jumps over the lazy dog, and nobody in the village was surprised.",
    "How do I undo the last git commit without losing my changes?",
    "def add(a: int, b: int) -> int:\n    return a + b  # TODO: check for overflow",
    "- milk\n- eggs\n- bread (2x)\n\nTotal: 14.90 EUR, paid on 2024-03-01",
    "https://example.org/a/b?c=d&e=f#g {\"id\": 17, \"name\": null, \"tags\": [\"x\", \"y\"]}",
    "Newton's second law says that force equals mass times acceleration; it holds in inertial frames only.",
    "Wie kann ich mein Passwort zurücksetzen? Ich habe es leider vergessen.",
    "¿Puedes resumir el artículo sobre la historia de la ciudad y sus monumentos?",
    "今天天气很好，我们去公园散步吧。",
    "Почему небо голубое? Объясни простыми словами.",
    "ok",
    "Traceback (most recent call last): File \"main.py\", line 3, in <module> KeyError: 'user_id'",
    "I felt anxious about the interview, but afterwards my sister called and we laughed about it for an hour.",
    "SELECT name, count(*) FROM orders WHERE created_at > now() - interval '7 days' GROUP BY 1 ORDER BY 2 DESC;",
)  # fmt: skip


class Forward(Protocol):
    label: str

    def __call__(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Unit vectors, single precision on the CPU, for token ids (texts × longest) of which the first `lengths`
        count."""
        ...


class PlainForward:
    """The model as sentence-transformers runs it, in another precision."""

    def __init__(self, model: SentenceTransformer, dtype: torch.dtype) -> None:
        self.label = str(dtype).removeprefix("torch.")
        self._model = model if dtype is torch.float32 else copy.deepcopy(model).to(dtype)

    def __call__(self, ids: Tensor, lengths: Tensor) -> Tensor:
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        device = self._model.device
        output = self._model({"input_ids": ids.to(device), "attention_mask": mask.to(device)})
        return functional.normalize(output["sentence_embedding"].float(), dim=-1).cpu()


@dataclass(frozen=True, slots=True)
class Chosen:
    forward: Forward
    tokens_per_s: float  # padding counted, on one core


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), pad_id)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    return ids, lengths


def choose(model: SentenceTransformer, samples: Sequence[Sequence[int]], pad_id: int) -> Chosen:
    """The fastest way on this machine that agrees with single precision on the `samples` (rows of token ids)."""
    from workers.embedding.int8 import Int8Bert

    threads = torch.get_num_threads()
    # One thread and its own clock: other processes' load must not decide.
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            trial = _Trial(model, samples, pad_id)
            trial.offer(lambda: PlainForward(model, torch.bfloat16))
            wide = torch.float32 if trial.best.forward is trial.reference else torch.bfloat16
            if model.device.type == "cpu":
                trial.offer(lambda: Int8Bert(model, *trial.batch, wide))
    finally:
        torch.set_num_threads(threads)
    return trial.best


class _Trial:
    """Compares ways to run the model on one batch of samples."""

    def __init__(self, model: SentenceTransformer, samples: Sequence[Sequence[int]], pad_id: int) -> None:
        self.batch = pad(samples, pad_id)
        self._one = pad(samples[:1], pad_id)
        self._clock = time.thread_time if model.device.type == "cpu" else time.perf_counter
        self.reference: Forward = PlainForward(model, torch.float32)
        self._wanted = self.reference(*self.batch)
        self.best = Chosen(self.reference, self._tokens_per_s(self.reference, self.batch))

    def offer(self, make: Callable[[], Forward]) -> None:
        try:
            candidate = make()
            # Where a processor lacks an instruction the library may fall back to a loop a thousand times slower, which
            # a single text shows soon enough.
            if self._tokens_per_s(candidate, self._one) < self.best.tokens_per_s / 20:
                return
            cosine = float((candidate(*self.batch) * self._wanted).sum(dim=-1).mean())
            speed = self._tokens_per_s(candidate, self.batch)
        except Exception as error:  # an optional speed-up that does not work here
            log.debug("embedding: %s", error)
            return
        log.debug("embedding: %s %.0f tokens/s, cosine %.4f", candidate.label, speed, cosine)
        if cosine >= MIN_COSINE and speed > self.best.tokens_per_s:
            self.best = Chosen(candidate, speed)

    def _tokens_per_s(self, forward: Forward, batch: tuple[Tensor, Tensor]) -> float:
        times = []
        for _ in range(2):
            started = self._clock()
            forward(*batch)
            times.append(self._clock() - started)
        return batch[0].numel() / max(min(times), 1e-6)
