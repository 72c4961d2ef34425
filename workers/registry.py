"""The adapters of this process: built once, at worker start or at first use, and shared by all its threads."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from config.catalogue import EXTRACTIVE
from config.errors import ModelUnavailable, Unusable
from config.settings import Settings, get_settings
from workers.ports import Embedder, LanguageModel

if TYPE_CHECKING:
    from workers.llm.extractive import ExtractiveAnswerer
    from workers.llm.local import LocalModel

# A model that could not be loaded is not tried again for every chat: reading a broken file takes seconds.
LOAD_PAUSE_S = 30.0

_lock = threading.Lock()
_local: LocalModel | None = None
_local_problem: str | None = None
_local_failed_at = 0.0
_extractive: ExtractiveAnswerer | None = None
_embedder: Embedder | None = None


def generation_threads(settings: Settings) -> int:
    """All cores but one: a decoder that shares its last core with the rest waits at every barrier."""
    return settings.model_n_threads or max(1, (os.cpu_count() or 2) - 1)


def local_model_name(settings: Settings) -> str | None:
    """The name clients select the local model by: its file's."""
    return Path(settings.model_path).stem if settings.model_path else None


def load_local_model() -> LanguageModel | None:
    """Load MODEL_PATH, once; None when no model is configured. Raises ModelUnavailable when it cannot be loaded."""
    global _local, _local_problem, _local_failed_at  # noqa: PLW0603
    name = local_model_name(get_settings())
    if name is None:
        return None
    with _lock:
        if _local is not None and not _local.engine.is_running:
            _local.close()
            _local = None
        if _local is None:
            if _local_problem is not None and time.monotonic() - _local_failed_at < LOAD_PAUSE_S:
                raise ModelUnavailable(_local_problem)
            try:
                _local = _open_local_model(name)
                _local_problem = None
            except ModelUnavailable as error:
                _local_problem, _local_failed_at = error.detail, time.monotonic()
                raise
        return _local


def _open_local_model(name: str) -> LocalModel:
    from workers.engine.engine import EngineOptions
    from workers.engine.runner import RunnerOptions
    from workers.llm.local import LocalModel

    settings = get_settings()
    runner = RunnerOptions(
        slots=settings.model_slots,
        cache_mb=settings.model_cache_mb,
        cache_type=settings.model_kv_type,
        flash_attention=settings.model_flash_attention,
    )
    return LocalModel(
        Path(settings.model_path),
        name=name,
        n_ctx=settings.model_n_ctx,
        n_threads=generation_threads(settings),
        n_gpu_layers=settings.model_n_gpu_layers,
        options=EngineOptions(runner=runner),
    )


def language_model(name: str | None) -> LanguageModel:
    """The model of this name; without one the local model, or the extractive answerer when there is none.
    Raises Unusable for an unknown name."""
    global _extractive  # noqa: PLW0603
    local_name = local_model_name(get_settings())
    if local_name is not None and name in (None, local_name):
        try:
            model = load_local_model()
            assert model is not None
            return model
        except ModelUnavailable:
            if name is not None:
                raise
    elif name not in (None, EXTRACTIVE):
        known = ", ".join(filter(None, (local_name, EXTRACTIVE)))
        raise Unusable(f"There is no model {name!r}; known are: {known}.")
    with _lock:
        if _extractive is None or _extractive.problem != _local_problem:
            from workers.llm.extractive import ExtractiveAnswerer

            _extractive = ExtractiveAnswerer(problem=_local_problem)
        return _extractive


def embedder() -> Embedder:
    """The embedder of the settings, loaded at first use (seconds)."""
    global _embedder  # noqa: PLW0603
    settings = get_settings()
    with _lock:
        if _embedder is None:
            if settings.embedding_backend == "hashing":
                from workers.embedding.hashing import HashingEmbedder

                _embedder = HashingEmbedder()
            else:
                from workers.embedding.minilm import SentenceEmbedder

                _embedder = SentenceEmbedder(
                    settings.embedding_model or None, threads=settings.embedding_threads or None
                )
        return _embedder
