from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gguf_model import make_tiny_model
from workers.llm.library import llama_cpp
from workers.llm.local import LocalModel


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf", endless=True)


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> Iterator[LocalModel]:
    """Greedy answers go on until max_tokens."""
    model = LocalModel(tiny_path, n_ctx=1024, n_threads=1)
    yield model
    model.close()


@pytest.fixture(scope="session")
def ending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalModel]:
    """Greedy answers end by themselves."""
    model = LocalModel(make_tiny_model(tmp_path_factory.mktemp("models") / "ending.gguf"), n_threads=1)
    yield model
    model.close()


@pytest.fixture(scope="session")
def reference(tiny_path: Path) -> Iterator[llama_cpp.Llama]:
    """The library's own way to run the tiny model."""
    llama = llama_cpp.Llama(str(tiny_path), n_ctx=1024, n_threads=1, n_threads_batch=1, verbose=False)
    yield llama
    llama.close()
