"""What is shown of a passage: a bounded piece of it, and where the query's words stand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.excerpts import SNIPPET_CHARS, highlights, snippet


def test_a_snippet_is_around_the_first_word_found() -> None:
    text = "a " * 400 + "needle in the middle " + "b " * 400
    cut = snippet(text, ["NEEDLE"])
    assert "needle in the middle" in cut
    assert cut.startswith("…")
    assert cut.endswith("…")
    assert len(cut) <= SNIPPET_CHARS + 2


def test_highlights_are_places_not_markup() -> None:
    text = "Die Rösen <b>roses</b> rosette"
    assert [text[start:end] for start, end in highlights(text, ["roses", "rosen"])] == ["Rösen", "roses"]


def test_a_short_text_is_its_own_snippet() -> None:
    assert snippet("short", ["nothing"]) == "short"
    assert snippet("", []) == ""


@given(text=st.text(max_size=2000), words=st.lists(st.text(min_size=1, max_size=5), max_size=4))
def test_snippets_are_bounded_pieces_of_the_text(text: str, words: list[str]) -> None:
    cut = snippet(text, words)
    assert len(cut) <= SNIPPET_CHARS + 2
    assert cut.removeprefix("…").removesuffix("…") in text
