"""A question may say when: what is taken for a date, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.dates import ANYWHERE, period

NOW = datetime(2024, 3, 13, 15, 30, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "since", "until", "rest"),
    [
        ("roses in March 2024", "2024-03-01", "2024-04-01", "roses"),
        ("the question from 2024-05-03", "2024-05-03", "2024-05-04", "the question"),
        ("tax 03.05.2024", "2024-05-03", "2024-05-04", "tax"),
        ("kubernetes on 18 July 2023", "2023-07-18", "2023-07-19", "kubernetes"),
        ("on the 1st of December, 2023 snow", "2023-12-01", "2023-12-02", "snow"),
        ("December 24, 2023", "2023-12-24", "2023-12-25", ""),
        ("bread Dec 2023", "2023-12-01", "2024-01-01", "bread"),
        ("bread 2023-11", "2023-11-01", "2023-12-01", "bread"),
        ("bread in May", "2023-05-01", "2023-06-01", "bread"),
        ("bread in February", "2024-02-01", "2024-03-01", "bread"),
        ("what we said in 2022 about it", "2022-01-01", "2023-01-01", "what we said  about it"),
        ("yesterday bread", "2024-03-12", "2024-03-13", "bread"),
        ("bread this week", "2024-03-11", "2024-03-18", "bread"),
        ("bread last week", "2024-03-04", "2024-03-11", "bread"),
        ("bread last month", "2024-02-01", "2024-03-01", "bread"),
        ("bread 3 months ago", "2023-12-01", "2024-01-01", "bread"),
        ("bread 2 years ago", "2022-01-01", "2023-01-01", "bread"),
        ("bread 10 days ago", "2024-03-03", "2024-03-04", "bread"),
    ],
)
def test_a_period_is_found(text: str, since: str, until: str, rest: str) -> None:
    found = period(text, NOW)
    assert found is not None
    assert (found.since + ANYWHERE).isoformat()[:10] == since
    assert (found.until - ANYWHERE).isoformat()[:10] == until
    assert found.rest.strip() == rest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "may I march",
        "order 2024-0381",
        "RE-2024-05",
        "30.02.2024",
        "2024-13-01",
        "how to sort in 2 days",
        '"in March 2024"',
        "Windows 2019",
        "error 1999",
        "99.99.2024",
    ],
)
def test_what_is_no_date_is_left_alone(text: str) -> None:
    assert period(text, NOW) is None


@given(st.text(max_size=80) | st.from_regex(r"\d{1,4}[-. ](jan|may|\d{1,3})[-. ]\d{1,4}( ago| days ago)?"))
def test_any_text_may_be_asked(text: str) -> None:
    found = period(text, NOW)
    assert found is None or (found.since < found.until and len(found.rest) < len(text))
