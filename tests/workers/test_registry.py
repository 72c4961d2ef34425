"""The registry keeps one of each, says what is wrong with a model file, and goes on without it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import ModelUnavailable, Unusable
from config.settings import reset_settings
from tests.gguf_model import make_tiny_model
from workers import registry
from workers.ports import ChatMessage, ChatRequest, Delta


@pytest.fixture(autouse=True)
def fresh(settings: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"_local": None, "_local_problem": None, "_local_failed_at": 0.0, "_extractive": None}.items():
        settings.setattr(registry, name, value)
    yield
    if registry._local is not None:
        registry._local.close()


def use_model(settings: pytest.MonkeyPatch, path: Path) -> None:
    settings.setenv("MODEL_PATH", str(path))
    settings.setenv("MODEL_N_CTX", "256")
    reset_settings()


def test_without_a_model_the_extractive_answerer_serves() -> None:
    assert registry.language_model(None).name == "extractive"
    with pytest.raises(Unusable, match="known are: extractive"):
        registry.language_model("gpt-9")


def test_eight_threads_load_one_model(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_model(settings, make_tiny_model(tmp_path / "tiny.gguf"))
    found = []
    threads = [threading.Thread(target=lambda: found.append(registry.language_model(None))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(model) for model in found}) == 1
    assert registry.language_model("tiny") is found[0]


def test_a_broken_file_is_a_sentence_and_the_answerer_says_it(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    use_model(settings, broken)
    with pytest.raises(ModelUnavailable) as caught:
        registry.language_model("broken")
    answerer = registry.language_model(None)
    assert answerer.name == "extractive"
    request = ChatRequest((ChatMessage("user", "Anybody there?"),))
    said = "".join(item.text for item in answerer.stream(request, lambda: False) if isinstance(item, Delta))
    assert caught.value.detail in said


def test_a_mended_file_is_loaded_after_a_pause(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"no model")
    use_model(settings, path)
    assert registry.language_model(None).name == "extractive"
    make_tiny_model(path)
    assert registry.language_model(None).name == "extractive"
    settings.setattr(registry, "LOAD_PAUSE_S", 0.0)
    assert registry.language_model(None).name == "tiny"


def test_an_engine_that_gave_up_is_replaced(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_model(settings, make_tiny_model(tmp_path / "tiny.gguf"))
    first = registry.load_local_model()
    assert first is not None
    registry._local.engine.close()  # type: ignore[union-attr]
    assert registry.language_model(None) is not first
