"""What a file tells of itself before and while it is loaded."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from config.errors import ModelUnavailable
from tests.gguf_model import make_tiny_model
from workers.engine.model import Model, load_progress


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "wide.gguf", embedding=128, vocabulary=8000)


def test_a_file_is_measured_without_its_weights(wide: Path) -> None:
    with closing(Model(wide)) as loaded, closing(Model(wide, without_weights=True)) as measured:
        assert measured.weights_bytes == loaded.weights_bytes
        assert 0.9 * wide.stat().st_size < measured.weights_bytes < wide.stat().st_size
        assert measured.parameters == loaded.parameters
        assert measured.trained_tokens == loaded.trained_tokens == 2048
        assert measured.cache_bytes_per_token(2.0) == loaded.cache_bytes_per_token(2.0) == 2 * 2 * 64 * 2.0


@pytest.mark.parametrize("part", [0, 0.001, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_found_by_measuring(wide: Path, tmp_path: Path, part: float) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(wide.read_bytes()[: int(part * wide.stat().st_size)])
    with pytest.raises(ModelUnavailable, match="The model cut cannot be loaded") as caught:
        Model(path, without_weights=True)
    assert str(tmp_path) not in caught.value.detail


def test_progress_goes_up_to_the_end_a_percent_at_a_time(wide: Path) -> None:
    told: list[float] = []
    with load_progress(lambda fraction: told.append(fraction) is None):
        Model(wide).close()
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len({int(fraction * 100) for fraction in told}) == len(told) > 5
    Model(wide).close()
    assert told[-1] == 1.0


def test_loading_ends_where_it_is_told_to(wide: Path) -> None:
    with load_progress(lambda fraction: fraction < 0.5), pytest.raises(ModelUnavailable):
        Model(wide)
