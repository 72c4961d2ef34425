"""What language models may take, on a machine, in a container and beside the embedder."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from config.settings import MIB, Settings
from workers import memory
from workers.memory import MARGIN_BYTES, container_free, embedding_share, free_bytes
from workers.roster import Resident


class Files:
    """A process that has so many bytes of files in memory."""

    def __init__(self, shared: int) -> None:
        self.shared = shared

    def memory_info(self) -> Files:
        return self


def resident(weights: int, cache: int) -> Resident[None]:
    return Resident("a", None, weights * MIB, cache * MIB)


def test_a_budget_is_a_budget() -> None:
    settings = Settings(model_memory_mb=1000)
    assert free_bytes(settings, []) == 1000 * MIB
    assert free_bytes(settings, [resident(600, 300), resident(200, 100)]) == -200 * MIB


def test_without_a_budget_it_is_what_the_machine_has_left() -> None:
    free = free_bytes(Settings(), [])
    assert abs(psutil.virtual_memory().available - MARGIN_BYTES - free) < 512 * MIB


def test_mapped_weights_are_no_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system counts them as such, but only those that are in memory: what was copied is gone already."""
    monkeypatch.setattr(memory, "container_free", lambda _path: 4000 * MIB)
    for shared, mapped in ((5000, 700), (300, 300)):
        monkeypatch.setattr(memory.psutil, "Process", lambda shared=shared: Files(shared * MIB))
        assert (
            free_bytes(Settings(), [resident(700, 100)])
            == min(psutil.virtual_memory().available, 4000 * MIB) - mapped * MIB - MARGIN_BYTES
        )


def test_a_containers_limit_counts_and_files_in_memory_do_not(tmp_path: Path) -> None:
    assert container_free(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 1000\ninactive_file 1200\nactive_file 700\nfile_mapped 5\n")
    assert container_free(tmp_path) is None
    (tmp_path / "memory.max").write_text("10000\n")
    assert container_free(tmp_path) == 10000 - 3000 + 1900


@pytest.mark.parametrize(("torch", "share"), [("2.13.0+cpu", 0), ("2.13.0+cu130", 700), ("2.13.0", 700)])
def test_the_embedders_share_is_left_to_it_where_it_can_use_one(
    monkeypatch: pytest.MonkeyPatch, torch: str, share: int
) -> None:
    monkeypatch.setattr(memory, "version", lambda _name: torch)
    assert embedding_share(Settings(embedding_gpu_mb=700)) == share * MIB
    assert embedding_share(Settings(embedding_gpu_mb=700, embedding_backend="hashing")) == 0


def test_a_gpu_is_asked_and_the_share_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "version", lambda _name: "2.13.0+cu130")
    monkeypatch.setattr(memory, "_free_on_gpus", lambda: 8000 * MIB)
    settings = Settings(embedding_gpu_mb=1024)
    assert free_bytes(settings, [resident(4000, 1000)]) == 8000 * MIB - memory.GPU_MARGIN_BYTES - 1024 * MIB
    some_layers = free_bytes(Settings(model_n_gpu_layers=10), [])
    assert some_layers > free_bytes(settings, [])
    monkeypatch.setattr(memory, "_free_on_machine", lambda _residents: 1)
    assert free_bytes(Settings(model_n_gpu_layers=0), []) == 1


def test_devices_are_asked_through_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor is a device, too: the one that every machine has to try the calls with."""
    from workers.llm.library import llama_cpp

    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: True)
    monkeypatch.setattr(memory, "_GPU_TYPES", (0,))
    found = memory._free_on_gpus()
    assert found is not None
    assert 0 < found <= psutil.virtual_memory().total
    monkeypatch.setattr(memory, "_GPU_TYPES", (99,))
    assert memory._free_on_gpus() is None


def test_a_runtime_without_a_gpu_knows_of_none() -> None:
    from workers.llm.library import llama_cpp

    found = memory._free_on_gpus()
    assert (found is None) == (not llama_cpp.llama_supports_gpu_offload())
