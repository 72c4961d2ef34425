"""Where a voice would pause, in text that is still being written."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.voice.sentences import MAX_CHARS, Piece, SentenceSplitter


def split(text: str, *cuts: int) -> list[Piece]:
    """`cuts`: where the text is cut on its way."""
    splitter = SentenceSplitter()
    found = []
    for start, end in itertools.pairwise([0, *cuts, len(text)]):
        found += splitter.feed(text[start:end])
    return found + splitter.flush()


def said(text: str) -> list[str]:
    return [piece.text.strip() for piece in split(text) if piece.text.strip()]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Hello there.", "How are you?", "Fine!"],
        ["It is 3.5 km.", "Or 1,000.5 m."],
        ["Dr. Smith met Mrs. Jones at St. Mary's.", "They left."],
        ["J. R. R. Tolkien wrote it.", "So did I.", "Then we slept."],
        ["We met at 5 p.m. on Monday.", "It was late."],
        ["It ended at 5 p.m.", "Then we left."],
        ["Bring bread, milk etc. for us.", "Or tea etc.", "We will see."],
        ["Use a fruit, e.g. Apples or i.e. Pears.", "Good."],
        ["Well... maybe.", "Wait...", "No."],
        ["See https://example.com/a.b?c=1.2&d for more.", "Then go."],
        ["He said \"stop.\" and left.", "\"Really?\" she asked.", "(It was so.)", "Yes."],
        ["What?!", "No way!!!", "Really?"],
        ["**Bold end.**", "_More._", "Plain."],
        ["No. 5 is alive.", "See fig. 3 there."],
        ["It was Jan. 5 that day.", "Then Feb.", "Came along."],
        ["今天天气很好。", "你好吗？", "「是的。」", "好！"],
        ["क्या हाल है।", "ठीक है।"],
        ["How is it in 2023.", "Good."],
        ["The file is config.py and a.b.c is not.", "Done."],
        ["At 10:30 we go.", "Version 2.0 is out."],
    ],
)  # fmt: skip
def test_sentences(sentences: list[str]) -> None:
    glue = "" if sentences[0].endswith("。") else " "
    assert said(glue.join(sentences)) == sentences


def test_lines_that_end_without_a_full_stop() -> None:
    text = (
        "# A heading\nSome text that\ngoes on in a line.\n\n1. First item\n2. Second. With more\n\n- one\n- two\n"
        "| a | b |\n|---|---|\n| c | d |\n\nA paragraph\n\nThe end"
    )
    assert said(text) == [
        "# A heading", "Some text that\ngoes on in a line.", "1. First item", "2. Second.", "With more", "- one",
        "- two", "| a | b |", "|---|---|", "| c | d |", "A paragraph", "The end",
    ]  # fmt: skip


def test_code_is_told_apart() -> None:
    text = (
        "Look:\n```python\nprint('a. b')\n\n~~~\n# no. heading\n```\nThat was it. And `a. b` too.\n~~~\nx. y\n~~~~\nEnd"
    )
    pieces = split(text)
    assert "".join(piece.text for piece in pieces if piece.is_code) == (
        "print('a. b')\n\n~~~\n# no. heading\n```\nx. y\n~~~~\n"
    )
    assert [piece.text for piece in pieces if "python" in piece.text] == ["```python\n"]
    assert "That was it." in said(text)


def test_a_block_of_code_is_known_before_it_is_complete() -> None:
    splitter = SentenceSplitter()
    assert [piece.text for piece in splitter.feed("So:\n```py")] == ["So:\n"]
    assert [(piece.text, piece.is_code) for piece in splitter.feed("thon\nx = ")] == [("```python\n", False)]
    assert [(piece.text, piece.is_code) for piece in splitter.feed("1\n")] == [("x = 1\n", True)]


def test_code_in_a_line_is_no_block() -> None:
    assert not any(piece.is_code for piece in split("```not. a``` block.\nBut text. "))


def test_a_sentence_is_given_as_soon_as_it_is_over() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("The answer is 42.") == [], "42.5 perhaps"
    assert splitter.feed(" ") == [Piece("The answer is 42. ", 0, 18)]
    assert splitter.feed("Good") == []
    assert splitter.flush() == [Piece("Good", 18, 22)]
    assert splitter.flush() == []


def test_the_first_piece_may_end_at_a_comma_and_later_ones_do_not() -> None:
    clause = "When the sun had set over the old harbour, "
    text = clause + "and the boats were in, we went home. " + clause + "we went home. "
    assert [piece.text for piece in split(text)] == [
        clause, "and the boats were in, we went home. ", clause + "we went home. ",
    ]  # fmt: skip
    assert split("Yes, well, so, it is. Good.")[0].text == "Yes, well, so, it is. "
    numbers = "There were exactly ten times ten times ten or 1,000 of them, they said."
    assert split(numbers)[0].text == "There were exactly ten times ten times ten or 1,000 of them, "


def test_what_has_no_end_is_cut_between_words() -> None:
    pieces = split("word " * 500)
    assert all(piece.text.startswith("word") and len(piece.text) <= MAX_CHARS for piece in pieces)
    clauses = split("and so on and so forth, " * 50)
    assert all(piece.text.endswith(", ") for piece in clauses)
    assert max(len(piece.text) for piece in split("x" * 5_000)) == MAX_CHARS


PARTS = (
    "a", "B", "7", " ", "\n", ".", ",", "?", "…", "`", "```", "~~~", "#", "- ", "1. ", "Dr", "e.g", '"', ")", "。", "*",
    "|", "\t", "\u2028", "word", "😀",
)  # fmt: skip
WILD = st.lists(st.sampled_from(PARTS), max_size=100).map("".join)


@given(WILD | st.text(max_size=80), st.lists(st.integers(0, 500), max_size=8))
def test_pieces_are_the_text_however_it_came(text: str, cuts: list[int]) -> None:
    whole = split(text)
    assert "".join(piece.text for piece in whole) == text
    assert split(text, *sorted(min(cut, len(text)) for cut in cuts)) == whole
    assert split(text, *range(len(text))) == whole
    assert all(text[piece.start : piece.end] == piece.text != "" for piece in whole)


@given(
    st.lists(
        st.sampled_from(["word ", "a, ", ". ", "\n", "x" * 90, " " * 60, "." * 30, "``` ", "7", "\n```\n", "。"]),
        max_size=60,
    )
)
def test_no_piece_is_long(parts: list[str]) -> None:
    text = "".join(parts)
    whole = split(text)
    assert max((len(piece.text) for piece in whole), default=0) <= MAX_CHARS
    assert split(text, *range(0, len(text), 7)) == whole


@pytest.mark.parametrize("part", ["a", " ", ".", "\n", "```\n", "(", "a. ", ", ", "…"])
def test_long_texts_take_little_time(part: str) -> None:
    began = time.process_time()
    pieces = split(part * 5_000, *range(0, 5_000, 5))
    assert "".join(piece.text for piece in pieces) == part * 5_000
    assert time.process_time() - began < 5
