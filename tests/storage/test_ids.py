"""Identifiers: order of id is order of creation, which is the order of a serial key's jobs."""

from __future__ import annotations

from storage.ids import new_id
from tests import factories


def test_ids_sort_by_creation_even_within_a_millisecond() -> None:
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(ids)


def test_ids_of_many_threads_are_distinct() -> None:
    found = factories.at_once(*[lambda: [new_id() for _ in range(500)]] * 4)
    assert len({one for share in found for one in share}) == 2000
