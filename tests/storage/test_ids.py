"""Identifiers: order of id is order of creation, which is the order of a serial key's jobs."""

from __future__ import annotations

from storage.ids import is_id, new_id
from tests import factories


def test_ids_sort_by_creation_even_within_a_millisecond() -> None:
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(ids)


def test_ids_of_many_threads_are_distinct() -> None:
    found = factories.at_once(*[lambda: [new_id() for _ in range(500)]] * 4)
    assert len({one for share in found for one in share}) == 2000


def test_only_the_written_form_is_an_id() -> None:
    assert is_id(new_id())
    for text in ("", "../../etc/passwd", new_id().upper(), new_id().replace("-", ""), f"{new_id()} "):
        assert not is_id(text)
