from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.llm.trouble import asked_pause_s, retry_after_s, sentence


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("-3", 0.0), ("nan", None), ("inf", 86400.0), ("1e300", 86400.0), ("soon", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_s(value) == seconds
    assert retry_after_s(None) is None


def test_retry_after_as_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert retry_after_s(format_datetime(soon, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after_s(format_datetime(soon - timedelta(days=1), usegmt=True)) == 0


@given(st.text())
def test_whatever_a_header_says_is_a_pause_or_none(value: str) -> None:
    pause = asked_pause_s({"retry-after": value})
    assert pause is None or 0 <= pause <= 86400
    asked_pause_s({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": value})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "9", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1s"}, 9),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0.5s"}, 360.5),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "1h"}, None),
        ({}, None),
    ],
)
def test_the_pause_that_headers_ask_for(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_pause_s(headers) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("told", "ours"),
    [
        ("Bad  request\n", "Bad request."),
        ("Really?", "Really?"),
        ("Incorrect API key provided: sk-abc***xyz.", "Incorrect API key provided: …"),
        ("Header was Bearer abcdef123456 here", "Header was … here."),
        ("key AIzaSyA1234567890abc is wrong", "key … is wrong."),
        ("The task-force key provided.", "The task-force key provided."),
    ],
)
def test_a_providers_words_in_one_sentence(told: str, ours: str) -> None:
    assert sentence(told) == ours


def test_a_long_story_is_cut() -> None:
    assert len(sentence("x" * 10_000)) == 301
