"""One running system for all fault tests: each of them must leave it well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gguf_model import make_tiny_model
from tests.running import Running, running


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("faults")
    model: Path = make_tiny_model(folder / "tiny.gguf", endless=True, context_length=4096)
    with running(
        folder,
        MODEL_PATH=str(model),
        MODEL_N_CTX="4096",
        MODEL_N_THREADS="1",
        MODEL_SLOTS="4",
        MODEL_KV_TYPE="f32",
        ENABLE_CACHE="false",  # the same question is to be answered again
        MODEL_FLASH_ATTENTION="off",  # as exact as it gets: answers are compared
        EMBEDDING_BACKEND="hashing",
    ) as up:
        yield up
