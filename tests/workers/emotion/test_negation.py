"""A feeling that is denied is said otherwise; other negations are left alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.emotion.labelled import DENIED, KEPT
from workers.emotion.negation import say_otherwise


@pytest.mark.parametrize(("text", "label"), DENIED)
def test_a_denial_is_seen(text: str, label: str) -> None:
    rewritten, denied = say_otherwise(text)
    assert denied == {label}
    assert rewritten != text


@pytest.mark.parametrize(("text", "label"), KEPT)
def test_what_is_felt_is_not_denied(text: str, label: str) -> None:
    assert label not in say_otherwise(text)[1]


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("I'm not angry", "I'm all right"),
        ("I’m NOT Angry!", "I’m all right!"),
        ("he isn’t scared", "he is all right"),
        ("they won't be pleased", "they will be unhappy"),
        ("I can't be sad about it", "I can be fine about it"),
        ("not even a bit worried", "even a bit all right"),
        ("That does not scare me", "That does suit me"),
        ("without fear", "calm"),
    ],
)
def test_how_it_is_said(text: str, rewritten: str) -> None:
    assert say_otherwise(text)[0] == rewritten


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Not again!",
        "I can't believe it",
        "no way, angry people",
        "I am angry, not sad people bother me",
        "knot angry",
        "I do not know why I am angry",
        "Is there any fear?",
    ],
)
def test_other_negations_are_left_alone(text: str) -> None:
    assert "anger" not in say_otherwise(text)[1]


def test_denied_here_and_felt_there_is_felt() -> None:
    assert say_otherwise("I'm not angry with you, I am furious with him")[1] == frozenset()


@given(st.text(st.sampled_from("not n't never angry sad ' \n.!ä"), max_size=200) | st.text(max_size=200))
def test_any_text(text: str) -> None:
    rewritten, denied = say_otherwise(text)
    assert denied or rewritten == text or "not" in text.lower()


def test_it_takes_no_long_time_for_any_text() -> None:
    started = time.perf_counter()
    for text in ("not " * 4000, "not" + " " * 16_000, "is not so very at all " * 800, "never been " * 1500):
        say_otherwise(text[:16_000])
    assert time.perf_counter() - started < 2
