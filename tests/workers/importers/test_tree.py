from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from workers.importers.ports import ImportedMessage
from workers.importers.tree import Parents, break_circles, latest_leaf, parents_first


def message(id: str, parent: str | None, day: int | None = None) -> ImportedMessage:
    time = datetime(2025, 1, day, tzinfo=UTC) if day else None
    return ImportedMessage(id, parent, "user", id, created_at=time)


def test_circles_are_cut_where_they_are_first_reached() -> None:
    parents: Parents = {"a": "c", "b": "a", "c": "b", "tail": "b", "self": "self", "free": None}
    assert break_circles(parents) == 2
    assert parents == {"a": None, "b": "a", "c": "b", "tail": "b", "self": None, "free": None}


def test_order_is_depth_first_and_siblings_are_asked_for() -> None:
    parents: Parents = {"root": None, "a": "root", "b": "root", "a1": "a", "other": None}
    assert parents_first(parents, lambda _, below: below) == ["root", "a", "a1", "b", "other"]
    assert parents_first(parents, lambda _, below: below[::-1]) == ["root", "b", "a", "a1", "other"]


@given(st.lists(st.integers(-1, 15), max_size=15))
def test_any_links_become_a_forest(links: list[int]) -> None:
    parents: Parents = {str(n): str(to) if 0 <= to < len(links) else None for n, to in enumerate(links)}
    break_circles(parents)
    order = parents_first(parents, lambda _, below: below)
    assert sorted(order) == sorted(parents)
    for at, node in enumerate(order):
        assert parents[node] is None or parents[node] in order[:at]


def test_a_long_chain() -> None:
    parents: Parents = {str(n): str(n + 1) if n < 50_000 else None for n in range(50_001)}
    assert break_circles(parents) == 0
    assert parents_first(parents, lambda _, below: below)[0] == "50000"


def test_the_latest_leaf() -> None:
    assert latest_leaf([]) is None
    assert latest_leaf([message("a", None, 3), message("b", "a", 1), message("c", "a", 2)]) == "c"
    assert latest_leaf([message("a", None), message("b", "a"), message("c", "b"), message("d", "a")]) == "c"
    same_time = [message("a", None, 1), message("b", "a", 2), message("c", "a", 1), message("d", "c", 2)]
    assert latest_leaf(same_time) == "d"
