"""A reranking model decides the order of what was found, and a search goes on without one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.errors import ModelUnavailable
from config.settings import reset_settings
from storage.tables import LOCAL_OWNER
from tasks import reranking
from tasks.search import Retrieval, find_conversations, find_passages, look_up
from tests.cross_encoder import make_cross_encoder
from tests.tasks.test_search import dated, index, said
from workers import registry
from workers.ports import Reranker

TEXTS = (
    "Prune roses early in spring.",
    "Roses, they say.",
    "When do I prune roses?",
    "Bread in spring, baked with yeast, and roses.",
    "In spring I prune.",
)
QUERY = "prune roses in spring"
searching = pytest.mark.usefixtures("sqlite", "held", "clean_redis", "hashing")


@pytest.fixture
def use(settings: pytest.MonkeyPatch) -> Callable[[object], Reranker | None]:
    """Have this model, or the one in this folder, rerank."""

    def use(model: object, **other: str) -> Reranker | None:
        settings.setattr(registry, "_reranker", None if isinstance(model, Path) else model)
        settings.setenv("RERANK_MODEL", str(model))
        for name, value in other.items():
            settings.setenv(name, value)
        reset_settings()
        return registry.reranker() if isinstance(model, Path) else None

    return use


def snippets(query: str = QUERY) -> list[str]:
    answered = find_conversations(LOCAL_OWNER, query, 10, 0)
    assert answered["degraded"] is None
    return [hit["snippet"] for hit in answered["results"]]


@searching
def test_its_scores_decide_the_order(use: Callable[..., Reranker], tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS):
        said(text, native_id=str(number), title=f"Talk {number}")
    index()
    plain = find_conversations(LOCAL_OWNER, QUERY, 10, 0)["results"]
    assert {hit["reranked"] for hit in plain} == {None}
    orders = []
    for seed in (1, 2, 3):
        model = use(make_cross_encoder(tmp_path / str(seed), seed=seed), RERANK_WAIT_S="60")
        scores = model.score(QUERY, TEXTS, lambda: False)
        assert scores is not None
        wanted = [text for _, text in sorted(zip(scores, TEXTS, strict=True), reverse=True)]
        hits = find_conversations(LOCAL_OWNER, QUERY, 10, 0)["results"]
        assert [hit["snippet"] for hit in hits] == wanted
        assert [hit["reranked"] for hit in hits] == [round(score, 4) for score in sorted(scores, reverse=True)]
        assert [hit["score"] for hit in hits] == [hit["score"] for hit in plain]  # they belong to the places
        assert [passage.text for passage in find_passages(Retrieval(LOCAL_OWNER, QUERY, 10))] == wanted
        worst = find_conversations(LOCAL_OWNER, QUERY, 10, 0, sort=("relevance", "asc"))["results"]
        assert [hit["snippet"] for hit in worst] == wanted[::-1]
        orders.append(tuple(wanted))
    assert len({*orders, tuple(hit["snippet"] for hit in plain)}) > 2


class Reader:
    """Likes what comes later in `liked`."""

    name = "reader"

    def __init__(self, liked: Sequence[str] = ()) -> None:
        self.liked, self.read = list(liked), list[str]()

    def score(self, query: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> list[float] | None:
        self.read += texts
        return [(1 + self.liked.index(text)) / 10 if text in self.liked else 0.0 for text in texts]


@searching
def test_only_the_best_are_read_and_pages_hold_together(use: Callable[..., None]) -> None:
    for number, text in enumerate(TEXTS):
        said(text, native_id=str(number))
    index()
    plain = snippets()
    reader = Reader(plain)
    use(reader, RERANK_BEST="3")
    assert snippets() == [*plain[2::-1], *plain[3:]]
    assert sorted(reader.read) == sorted(plain[:3])
    paged = [find_conversations(LOCAL_OWNER, QUERY, 2, offset)["results"] for offset in (0, 2, 4)]
    assert [hit["snippet"] for page in paged for hit in page] == [*plain[2::-1], *plain[3:]]
    read = len(reader.read)
    find_conversations(LOCAL_OWNER, QUERY, 10, 3)  # behind what it reads
    find_conversations(LOCAL_OWNER, QUERY, 10, 0, sort=("title", "asc"))
    assert len(reader.read) == read


@searching
def test_a_title_stays_first_and_another_time_stays_behind(use: Callable[..., None]) -> None:
    titled = said("Roses, they say.", native_id="t", title="When to prune roses in spring")
    then = [dated(text, f"then{at}", datetime(2024, 3, 9, tzinfo=UTC)) for at, text in enumerate(TEXTS[:2])]
    later = dated(TEXTS[2], "later", datetime(2024, 7, 9, tzinfo=UTC))
    index()
    use(Reader(["Roses, they say.", TEXTS[0], TEXTS[1], TEXTS[2]]))
    assert find_conversations(LOCAL_OWNER, QUERY, 10, 0)["results"][0]["conversation_id"] == titled
    hits = [hit["conversation_id"] for hit in find_conversations(LOCAL_OWNER, "roses in March 2024", 10, 0)["results"]]
    assert set(hits[:2]) == set(then)
    assert later in hits[2:]


@searching
def test_a_slow_one_is_not_waited_for(use: Callable[..., None]) -> None:
    for number, text in enumerate(TEXTS):
        said(text, native_id=str(number))
    index()
    plain, stopped = snippets(), threading.Event()

    class Slow(Reader):
        def score(self, query: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> list[float] | None:
            while not cancelled():
                pass
            stopped.set()
            return None

    use(Slow(), RERANK_WAIT_S="0.05")
    answered = find_conversations(LOCAL_OWNER, QUERY, 10, 0)
    assert [hit["snippet"] for hit in answered["results"]] == plain
    assert answered["degraded"] == reranking.LATE
    assert look_up(Retrieval(LOCAL_OWNER, QUERY, 5)).degraded == reranking.LATE
    assert stopped.wait(20)  # and does not go on computing for nobody


@searching
def test_a_missing_broken_or_failing_one_does_not_break_a_search(use: Callable[..., None], tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS):
        said(text, native_id=str(number))
    index()
    plain = snippets()
    broken = make_cross_encoder(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    for folder in (tmp_path / "missing", broken):
        with pytest.raises(ModelUnavailable):
            use(folder)
        assert snippets() == plain

    class Failing(Reader):
        def score(self, query: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> list[float] | None:
            raise RuntimeError("/a/path")

    use(Failing())
    answered = find_conversations(LOCAL_OWNER, QUERY, 10, 0)
    assert [hit["snippet"] for hit in answered["results"]] == plain
    assert answered["degraded"] == reranking.FAILED
