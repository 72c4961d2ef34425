"""A cross-encoder of sentence-transformers in a folder: a real one, tiny and untrained."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from config.errors import ModelUnavailable
from config.settings import reset_settings
from tests import factories
from tests.cross_encoder import make_cross_encoder
from workers import registry
from workers.rerank.cross_encoder import BATCH, CrossEncoderReranker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("models") / "tiny-reranker")


def never() -> bool:
    return False


def test_scores_are_shares_that_tell_texts_apart(folder: Path) -> None:
    model = CrossEncoderReranker(str(folder))
    texts = ["roses in spring", "bread", "roses", "spring bread in roses"] * BATCH
    scores = model.score("prune roses", texts, never)
    assert scores is not None
    assert len(scores) == len(texts)
    assert all(0 <= score <= 1 for score in scores)
    assert len({round(score, 6) for score in scores}) == 4  # the same text has the same score in every batch
    assert scores != model.score("bread", texts, never)
    assert model.score("x", [], never) == []


@pytest.mark.parametrize("text", ["", "roses " * 20_000, "\ud83d", "\0"])
def test_any_text_is_cut_to_its_input(folder: Path, text: str) -> None:
    model = CrossEncoderReranker(str(folder))
    assert model.score(text, [text], never) is not None


def test_it_stops_between_two_batches_when_nobody_waits(folder: Path) -> None:
    looks: list[bool] = []

    def after_one_batch() -> bool:
        looks.append(True)
        return len(looks) == 2

    assert CrossEncoderReranker(str(folder)).score("roses", ["bread"] * 5 * BATCH, after_one_batch) is None
    assert len(looks) == 2


def test_threads_share_one_and_its_few_of_the_processor(folder: Path) -> None:
    import torch

    model, here = CrossEncoderReranker(str(folder), threads=1), torch.get_num_threads()
    alone = model.score("roses", ["in spring", "bread"], never)
    calls = [lambda: model.score("roses", ["in spring", "bread"], never)] * 4
    assert factories.at_once(*calls) == [alone] * 4
    assert model._turns.run(torch.get_num_threads) == 1
    assert torch.get_num_threads() == here
    model.close()


def test_what_is_no_such_model_is_refused(tmp_path: Path, folder: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[:100])
    many = make_cross_encoder(tmp_path / "many", labels=3)
    for model in ("", str(tmp_path / "missing"), str(broken), str(many), "nobody/has-this-model"):
        threads = threading.active_count()
        with pytest.raises(ModelUnavailable) as raised:
            CrossEncoderReranker(model)
        assert str(tmp_path) not in raised.value.detail
        assert threading.active_count() == threads


def test_the_settings_choose(settings: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    settings.setattr(registry, "_reranker", None)
    assert registry.reranker() is None
    settings.setenv("RERANK_MODEL", str(tmp_path / "missing"))
    reset_settings()
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="missing"):
            registry.reranker()
    settings.setattr(registry, "_reranker", None)
    settings.setenv("RERANK_MODEL", str(folder))
    reset_settings()
    model = registry.reranker()
    assert model is not None
    assert (model.name, model) == ("tiny-reranker", registry.reranker())
