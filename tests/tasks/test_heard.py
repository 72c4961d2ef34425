"""What somebody heard who stopped an answer: whole words, never more than was spoken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.heard import Spoken, heard_text

TEXT = "One sentence. Another one follows. The last."
SPOKEN = [Spoken(0, 14, 0, 1000), Spoken(14, 35, 1000, 3000), Spoken(35, 44, 3000, 4000)]


def test_nothing_was_heard() -> None:
    assert heard_text(TEXT, SPOKEN, 0) == ""
    assert heard_text(TEXT, [], 5000) == ""


def test_all_was_heard() -> None:
    assert heard_text(TEXT, SPOKEN, 4000) == TEXT
    assert heard_text(TEXT, SPOKEN, 99_999) == TEXT


def test_within_a_sentence_whole_words_count() -> None:
    assert heard_text(TEXT, SPOKEN, 1000) == "One sentence."
    assert heard_text(TEXT, SPOKEN, 2000) == "One sentence. Another"  # ten of 21 characters: "Another on"
    assert heard_text(TEXT, SPOKEN, 1100) == "One sentence."


@given(st.text(), st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5000))), st.integers(0, 100_000))
def test_what_was_heard_is_a_beginning(text: str, sizes: list[tuple[int, int]], heard_ms: int) -> None:
    pieces, at, ms = [], 0, 0
    for length, duration in sizes:
        if at + length > len(text):
            break
        pieces.append(Spoken(at, at + length, ms, ms + duration))
        at, ms = at + length, ms + duration
    heard = heard_text(text, pieces, heard_ms)
    assert text.startswith(heard)
    assert len(heard) <= at
    assert heard_ms < ms or heard == text[:at].rstrip()
