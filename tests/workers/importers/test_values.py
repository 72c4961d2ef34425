from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.importers.values import digest, fenced, link, moment, native_id, title, whole

NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        1735689600,
        1735689600.0,
        "1735689600",
        " 1735689600.0 ",
        1735689600_000,
        "1735689600000",
        1735689600_000_000,
        1735689600_000_000_000,
        "2025-01-01T00:00:00Z",
        "2025-01-01T02:00:00.000000+02:00",
        "2025-01-01 00:00:00",
        "2025-01-01",
    ],
)
def test_one_moment_written_in_many_ways(written: Any) -> None:
    assert moment(written) == NEW_YEAR


@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        "soon",
        0,
        -1,
        -1735689600.0,
        True,
        [],
        {},
        float("nan"),
        float("inf"),
        "nan",
        "1e999",
        10**400,
        "1969-12-31",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        5_000_000_000,
    ],
)
def test_what_is_no_time(written: Any) -> None:
    assert moment(written) is None


def test_a_near_future_is_kept() -> None:
    assert moment(2_000_000_000) == datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC)


@given(st.floats() | st.integers() | st.text() | st.none() | st.datetimes().map(str))
def test_times_are_aware_or_none(written: Any) -> None:
    found = moment(written)
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    ("given_title", "expected"),
    [
        ("Plans", "Plans"),
        ("  two\n\tlines ", "two lines"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\u202egnp.exe", "a gnp.exe"),
        ("שלום עולם", "שלום עולם"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        (None, "Hello there"),
        ("", "Hello there"),
        ("\x00\x07", "Hello there"),
        (17, "Hello there"),
    ],
)
def test_titles(given_title: Any, expected: str) -> None:
    assert title(given_title, "Hello\nthere") == expected


def test_title_lengths() -> None:
    assert title(None, "") == "Untitled"
    assert len(title("x" * 10_000)) == 500
    derived = title(None, "word " * 100)
    assert len(derived) <= 80
    assert derived.endswith("word…")
    assert title(None, "\u0301e" * 100).endswith("…")


@given(st.text() | st.none(), st.text())
def test_a_title_is_one_line_of_text(given_title: str | None, question: str) -> None:
    found = title(given_title, question)
    assert found
    assert found == " ".join(found.split())
    assert len(found) <= 500


def test_ids() -> None:
    assert native_id("abc") == "abc"
    assert native_id(12) == "12"
    nothing: tuple[Any, ...] = (None, "", " ", True, [], 1.5)
    assert [native_id(value) for value in nothing] == [None] * 6
    assert native_id("x" * 1000) == digest("x" * 1000)
    assert digest("a", "b") != digest("ab")
    assert digest("\ud800")


def test_sizes() -> None:
    assert [whole(number) for number in (0, 12, 12.0)] == [0, 12, 12]
    assert [whole(odd) for odd in (-1, True, "12", float("nan"), float("inf"), 10**400)] == [None] * 6


def test_a_fence_is_longer_than_those_inside() -> None:
    assert fenced("x = 1\n", "python") == "```python\nx = 1\n```"
    assert fenced("```\ninner\n```").startswith("````\n")


def test_only_web_addresses_become_links() -> None:
    assert link("A [b]", "https://example.org/a(b)") == "[A \\[b\\]](https://example.org/a%28b%29)"
    assert link("click", "javascript:alert(1)") == "click"
    assert link("", "javascript:alert(1)") == ""
    assert link("", "https://example.org") == "[https://example.org](https://example.org)"
    assert link("x", "https://example.org/ a") == "x"
