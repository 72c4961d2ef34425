"""A cross-encoder of sentence-transformers: it reads the query and a passage together, and is slow for that."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from config.errors import ModelUnavailable
from workers.embedding.turns import OneAtATime

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

log = logging.getLogger(__name__)

BATCH = 8  # pairs between two looks at whether anybody still waits
MOST_TOKENS = 512  # of a pair, where the model bounds nothing itself
MAX_CHARS = 8000  # of a text that is cut by tokens anyway


class CrossEncoderReranker:
    """Loading takes seconds. Any number of threads may call; their batches take turns on a thread that has `threads`
    of the processor's, so that the embedder keeps the others."""

    def __init__(self, model: str, *, threads: int = 1) -> None:
        """`model`: a folder, or the name of a model that is on this machine; nothing is fetched. Raises
        ModelUnavailable."""
        path = Path(model).expanduser()
        self.name = path.name
        self._turns = OneAtATime("reranking")
        try:
            self._model = self._turns.run(lambda: _load(str(path) if path.is_dir() else model, threads))
        except BaseException as error:
            self._turns.close()
            if not isinstance(error, Exception):
                raise
            raise ModelUnavailable(
                f"The reranking model {self.name} cannot be loaded: it is broken, gives more than one score, or is not "
                "on this machine."
            ) from error
        log.info("reranking with %s", self.name)

    def close(self) -> None:
        self._turns.close()

    def score(self, query: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> list[float] | None:
        pairs = [(_clean(query), _clean(text)) for text in texts]
        scores: list[float] = []
        for start in range(0, len(pairs), BATCH):
            if cancelled():
                return None
            batch = pairs[start : start + BATCH]
            scores += self._turns.run(lambda batch=batch: _scores(self._model, batch))  # type: ignore[misc]
        return scores


def _load(source: str, threads: int) -> CrossEncoder:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
    import torch
    from sentence_transformers import CrossEncoder
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(threads)  # of this thread
    model = CrossEncoder(source, local_files_only=True)
    if model.num_labels != 1:
        raise ValueError(f"{model.num_labels} scores for each pair")
    places = getattr(model.config, "max_position_embeddings", MOST_TOKENS)
    model.max_length = min(model.max_length or MOST_TOKENS, places, MOST_TOKENS)
    _scores(model, [("warm", "up")])  # a broken one fails here
    return model


def _scores(model: CrossEncoder, pairs: list[tuple[str, str]]) -> list[float]:
    """0 to 1, whatever the model's own last step is."""
    import torch

    raw = model.predict(pairs, batch_size=len(pairs), show_progress_bar=False, activation_fn=torch.nn.Identity())
    logits = np.asarray(raw, dtype=np.float64).reshape(len(pairs))
    if not np.isfinite(logits).all():
        raise ModelUnavailable("The reranking model gives no numbers.")
    scores: list[float] = (1 / (1 + np.exp(-np.clip(logits, -500, 500)))).tolist()
    return scores


def _clean(text: str) -> str:
    return text[:MAX_CHARS].encode("utf-8", "replace").decode()
