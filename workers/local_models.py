"""GGUF files of this machine as residents: measured, loaded, watched for changes."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Hashable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from config.catalogue import local_models, parts_of
from config.errors import ModelUnavailable
from config.settings import MIB, Settings, get_settings
from workers.engine.engine import EngineOptions
from workers.engine.model import Model, load_progress
from workers.engine.runner import CACHE_TYPES, RunnerOptions
from workers.llm.library import llama_cpp
from workers.llm.local import LocalModel
from workers.memory import free_bytes
from workers.roster import Resident, Size

# What decoding needs beside weights and cache: 70 to 190 MB for shapes of 135M to 8B, and of 49k to 152k tokens.
WORKING_BYTES = 192 * MIB
_ROUND = 256  # as the runner rounds a context
# The part of loading that is reading, where the file is not in memory yet.
_READING = 0.9
_READ_BYTES = 4 * MIB


class LocalLoader:
    """The `Loader` of `workers.residents` for models by the names `config.catalogue.local_models` gives them."""

    def stamp(self, name: str) -> Hashable:
        path = local_models(get_settings()).get(name)
        try:
            file = path.stat() if path is not None else None
        except OSError:
            return None
        return None if file is None else (path, file.st_size, file.st_mtime_ns)

    def measure(self, name: str) -> Size:
        settings = get_settings()
        model = Model(_path(name), name=name, n_gpu_layers=settings.model_n_gpu_layers, without_weights=True)
        with closing(model):
            per_token = model.cache_bytes_per_token(CACHE_TYPES[settings.model_kv_type][1])
            trained = model.trained_tokens or settings.model_n_ctx
            each = int(-(-min(settings.model_n_ctx, trained) // _ROUND) * _ROUND * per_token)
            conversations = 4 if model.on_gpu else settings.model_slots  # the room the runner makes, or less
            cache = max(each, min(conversations * each, settings.model_cache_mb * MIB))
            return Size(model.weights_bytes + WORKING_BYTES, cache, each)

    def free(self, residents: Sequence[Resident[LocalModel]]) -> int:
        return free_bytes(get_settings(), residents)

    def load(self, name: str, cache_bytes: int, progress: Callable[[float], bool]) -> LocalModel:
        settings = get_settings()
        runner = RunnerOptions(
            slots=settings.model_slots,
            cache_mb=max(1, -(-cache_bytes // MIB)),
            cache_type=settings.model_kv_type,
            flash_attention=settings.model_flash_attention,
        )
        folder = _cache_folder(settings, name) if settings.model_disk_cache_mb else None
        options = EngineOptions(runner=runner, cache_dir=folder, cache_dir_mb=settings.model_disk_cache_mb)
        before = 0.0
        if not (settings.model_n_gpu_layers and llama_cpp.llama_supports_gpu_offload()):
            before = _READING
            _read_through(_path(name), name, lambda part: progress(_READING * part))
        with load_progress(lambda part: progress(before + (1 - before) * part)):
            return LocalModel(
                _path(name),
                name=name,
                n_ctx=settings.model_n_ctx,
                n_threads=generation_threads(settings),
                n_gpu_layers=settings.model_n_gpu_layers,
                options=options,
            )

    def is_running(self, model: LocalModel) -> bool:
        return model.engine.is_running

    def facts(self, model: LocalModel) -> dict[str, Any]:
        return {"context_tokens": model.context_tokens, "parameters": model.engine.model.parameters}


def generation_threads(settings: Settings) -> int:
    """All cores but one: a decoder that shares its last core with the rest waits at every barrier."""
    return settings.model_n_threads or max(1, (os.cpu_count() or 2) - 1)


def _read_through(path: Path, name: str, progress: Callable[[float], bool]) -> None:
    """Bring the files into memory. llama.cpp maps them there, and would read them within a single call, of which nobody
    hears how far it is."""
    paths = parts_of(path)
    done, total, buffer = 0, 0, bytearray(_READ_BYTES)
    try:
        total = sum(one.stat().st_size for one in paths)
        for one in paths:
            with one.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    done += count
                    if not progress(min(done / total, 1.0)):
                        raise ModelUnavailable(f"Loading the model {name} was ended.")
    except OSError as error:
        raise ModelUnavailable(f"The model {name} cannot be loaded: its file is broken or cannot be read.") from error


def forget_saved(settings: Settings) -> None:
    """Removes the conversations' caches on disk of all models, resident or not."""
    for path in settings.model_cache_dir.rglob("*.state"):
        path.unlink(missing_ok=True)


def _path(name: str) -> Path:
    path = local_models(get_settings()).get(name)
    if path is None:
        raise ModelUnavailable(f"The model {name} is no longer there.")
    return path


def _cache_folder(settings: Settings, name: str) -> Path:
    """A folder for this model alone, as an engine removes what it does not know; those of models that are gone go.
    A hash, because a file may have any name, '..' among them."""
    root = settings.model_cache_dir
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = {_folder_name(known) for known in (name, *local_models(settings))}
    for other in root.iterdir():
        if other.name not in kept:
            shutil.rmtree(other, ignore_errors=True)
    return root / _folder_name(name)


def _folder_name(model_name: str) -> str:
    return hashlib.sha256(model_name.encode()).hexdigest()[:16]
