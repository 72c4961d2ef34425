"""How much memory language models may take now: of the GPU where they are loaded onto one, else of this machine."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from config.settings import MIB, Settings
from workers.roster import Resident

# Left for the embedder, which loads at the same time in another process, and for what else grows.
MARGIN_BYTES = 1024 * MIB
GPU_MARGIN_BYTES = 512 * MIB
_CGROUP = Path("/sys/fs/cgroup")
_GPU_TYPES = (1, 2)  # ggml_backend_dev_type: discrete and integrated


def free_bytes(settings: Settings, residents: Sequence[Resident[Any]]) -> int:
    """What may be taken beside the residents; below 0 when they have too much already."""
    if settings.model_memory_mb:
        return settings.model_memory_mb * MIB - sum(resident.held for resident in residents)
    on_gpu = _free_on_gpus() if settings.model_n_gpu_layers else None
    if on_gpu is None:
        return _free_on_machine(residents)
    free = on_gpu - GPU_MARGIN_BYTES - embedding_share(settings)
    return free if settings.model_n_gpu_layers < 0 else free + _free_on_machine(residents)


def embedding_share(settings: Settings) -> int:
    """Bytes of GPU memory that are the index worker's: none where its torch cannot use a GPU."""
    if settings.embedding_backend == "hashing":
        return 0
    try:
        can_use = not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        can_use = False
    return settings.embedding_gpu_mb * MIB if can_use else 0


def _free_on_machine(residents: Sequence[Resident[Any]]) -> int:
    # Weights are mapped files, which the system counts as free memory: it could read them again. While they are used,
    # it could not do without.
    weights = sum(resident.weights for resident in residents)
    mapped = min(weights, getattr(psutil.Process().memory_info(), "shared", weights))
    free = int(psutil.virtual_memory().available)
    limit = container_free(_CGROUP)
    return (free if limit is None else min(free, limit)) - mapped - MARGIN_BYTES


def container_free(cgroup: Path) -> int | None:
    """What a container's limit leaves; None where there is no limit. Files in memory do not count, as above."""
    try:
        limit, used = int((cgroup / "memory.max").read_text()), int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no limits of this kind, or "max"
        return None
    files = sum(int(line.split()[1]) for line in lines if line.startswith(("active_file ", "inactive_file ")))
    return limit - used + files


def _free_on_gpus() -> int | None:
    """Free memory of all GPUs that llama.cpp sees; None without one, or where the driver does not tell."""
    from workers.llm.library import llama_cpp

    if not llama_cpp.llama_supports_gpu_offload():
        return None
    ggml = llama_cpp.llama_cpp._lib
    count, get, kind, memory = (
        getattr(ggml, f"ggml_backend_dev_{name}", None) for name in ("count", "get", "type", "memory")
    )
    if not (count and get and kind and memory):
        return None
    count.restype = ctypes.c_size_t
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    kind.argtypes = [ctypes.c_void_p]
    memory.restype, memory.argtypes = None, [ctypes.c_void_p] + [ctypes.POINTER(ctypes.c_size_t)] * 2
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    found = known = 0
    for device in (get(place) for place in range(count())):
        if kind(device) in _GPU_TYPES:
            memory(device, ctypes.byref(free), ctypes.byref(total))
            found, known = found + free.value, known + total.value
    return found if known else None
