"""The vector index, in a real Chroma."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import chromadb
import numpy as np
import pytest
from chromadb.api.models.Collection import Collection
from numpy.typing import NDArray

from config.errors import Unavailable
from config.settings import reset_settings
from storage import vectors
from storage.ids import new_id
from storage.vectors import VectorIndex


def unit(*values: float) -> NDArray[np.float32]:
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture
def index(chroma: str, settings: pytest.MonkeyPatch) -> VectorIndex:
    settings.setenv("CHROMA_URL", chroma)
    reset_settings()
    return VectorIndex(f"model-{new_id()}")


def put(index: VectorIndex, owner: str, **rows: NDArray[np.float32]) -> None:
    metadatas = [{"owner_id": owner, "conversation_id": "c"}] * len(rows)
    index.upsert(list(rows), np.stack(list(rows.values())), metadatas)


def test_the_nearest_come_first_with_their_cosine(index: VectorIndex) -> None:
    put(index, "me", near=unit(1, 0.1), far=unit(-1, 0), aside=unit(0, 1))
    found = index.query(unit(1, 0), 3)
    assert [name for name, _ in found] == ["near", "aside", "far"]
    assert [score for _, score in found] == pytest.approx([0.995, 0, -1], abs=0.01)
    assert [name for name, _ in index.query(unit(1, 0), 1)] == ["near"]


def test_owners_do_not_see_each_other(index: VectorIndex) -> None:
    put(index, "me", mine=unit(1, 0))
    put(index, "you", yours=unit(1, 0))
    assert [name for name, _ in index.query(unit(1, 0), 5, owner_id="me")] == ["mine"]
    assert index.query(unit(1, 0), 5, owner_id="nobody") == []
    assert {name for name, _ in index.query(unit(1, 0), 5)} == {"mine", "yours"}


def test_of_some_conversations_only(index: VectorIndex) -> None:
    put(index, "me", mine=unit(1, 0))
    assert [name for name, _ in index.query(unit(1, 0), 5, owner_id="me", within=["b", "c"])] == ["mine"]
    assert index.query(unit(1, 0), 5, within=["b"]) == []


def test_one_that_another_process_made_anew_is_found_again(index: VectorIndex) -> None:
    put(index, "me", old=unit(1, 0))
    assert index.query(unit(1, 0), 5)
    chromadb.HttpClient(host="127.0.0.1", port=urlsplit(vectors.server_url()).port or 0).delete_collection(index.name)
    assert index.query(unit(1, 0), 5) == []
    put(index, "me", new=unit(1, 0))
    assert [name for name, _ in index.query(unit(1, 0), 5)] == ["new"]


def test_the_same_id_again_replaces(index: VectorIndex) -> None:
    put(index, "me", a=unit(1, 0))
    put(index, "me", a=unit(0, 1))
    assert index.count() == 1
    assert index.query(unit(0, 1), 5)[0][1] == pytest.approx(1, abs=0.001)


def test_deleting(index: VectorIndex) -> None:
    put(index, "me", a=unit(1, 0), b=unit(0, 1))
    index.delete({"a", "unknown"})
    index.delete([])
    assert [name for name, _ in index.query(unit(1, 0), 5)] == ["b"]


def test_large_batches_are_split(index: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BATCH", 10)
    monkeypatch.setattr(vectors, "DELETE_BATCH", 10)
    rows = {f"v{number}": unit(1, number) for number in range(25)}
    put(index, "me", **rows)
    assert index.count() == 25
    index.delete(list(rows))
    assert index.count() == 0


@pytest.mark.parametrize(("ago_s", "size"), [(1.0, vectors.GENTLE_BATCH), (3600.0, vectors.BATCH)])
def test_vectors_are_added_in_small_batches_while_somebody_searches(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch, ago_s: float, size: int
) -> None:
    added: list[int] = []
    upsert = Collection.upsert

    def noted(self: Collection, *args: Any, **given: Any) -> None:
        added.append(len(given["ids"]))
        upsert(self, *args, **given)

    monkeypatch.setattr(Collection, "upsert", noted)
    monkeypatch.setattr(vectors, "_queried_at", time.monotonic() - ago_s)
    put(index, "me", **{f"v{number}": unit(1, number) for number in range(size + 1)})
    assert added == [size, 1]
    assert index.count() == size + 1


def test_models_have_indexes_of_their_own(index: VectorIndex) -> None:
    put(index, "me", a=unit(1, 0))
    other = VectorIndex(f"model-{new_id()}")
    assert other.count() == 0
    put(other, "me", a=unit(1, 0, 0))
    assert index.count() == 1


def test_a_chroma_that_is_away(settings: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="not running"):
        VectorIndex("m").count()
    assert not vectors.is_alive()
    settings.setenv("CHROMA_URL", "http://127.0.0.1:9")
    reset_settings()
    with pytest.raises(Unavailable, match="cannot be reached"):
        VectorIndex("m").count()
    assert not vectors.is_alive(0.5)


def test_the_private_server_is_found_by_its_port_file(chroma: str, settings: pytest.MonkeyPatch) -> None:
    from config.settings import get_settings

    run_dir = get_settings().run_dir
    run_dir.mkdir(parents=True)
    (run_dir / "chroma.port").write_text(chroma.rpartition(":")[2])
    assert vectors.is_alive()
    assert vectors.server_url() == chroma
