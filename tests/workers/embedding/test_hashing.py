from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.embedding.hashing import HashingEmbedder

EMBEDDER = HashingEmbedder()


@given(st.lists(st.text(), max_size=5))
def test_unit_vectors(texts: list[str]) -> None:
    vectors = EMBEDDER.embed(texts)
    assert vectors.shape == (len(texts), 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_shared_words_come_first() -> None:
    question, near, inflected, far = EMBEDDER.embed(
        ["When do zebras migrate?", "Zebras migrate in June.", "The zebra's migration", "My sourdough starter died."]
    )
    assert question @ near > question @ inflected > question @ far


def test_every_process_agrees() -> None:
    code = (
        "from workers.embedding.hashing import HashingEmbedder as H; print(H().embed(['Grüße, 世界']).tobytes().hex())"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == EMBEDDER.embed(["Grüße, 世界"]).tobytes().hex()


def test_counting() -> None:
    assert EMBEDDER.count_tokens(["", "two words", "a-b"]) == [0, 2, 3]
