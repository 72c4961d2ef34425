from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gguf_model import make_tiny_model
from tests.workers.engine.answers import Reference
from workers.engine.engine import Engine, EngineOptions
from workers.engine.runner import RunnerOptions
from workers.engine.scheduler import Limits

OpenEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf", endless=True)


@pytest.fixture(scope="session")
def reference(tiny_path: Path) -> Iterator[Reference]:
    made = Reference(tiny_path)
    yield made
    made.close()


@pytest.fixture
def open_engine(tiny_path: Path) -> Iterator[OpenEngine]:
    """Opens engines of the tiny model, and closes them."""
    opened: list[Engine] = []

    def open_one(
        *,
        reuse: bool = True,
        limits: Limits | None = None,
        cache_dir: Path | None = None,
        cache_dir_mb: int = 64,
        **runner: object,
    ) -> Engine:
        # As `Llama` computes: with flash attention sums round differently.
        defaults = {"context_tokens": 1024, "slots": 4, "flash_attention": "off"}
        options = RunnerOptions(**{**defaults, **runner})  # type: ignore[arg-type]
        opened.append(
            Engine.load(tiny_path, EngineOptions(options, limits or Limits(), reuse, cache_dir, cache_dir_mb))
        )
        return opened[-1]

    yield open_one
    for engine in opened:
        engine.close()
