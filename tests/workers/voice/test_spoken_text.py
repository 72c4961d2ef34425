"""Markdown as it is read aloud."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.voice.sentences import SentenceSplitter
from workers.voice.spoken_text import spoken_text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Plain text, nothing else.", "Plain text, nothing else."),
        ("**Bold**, *italic*, ***both***, __bold__, _italic_ and ~~gone~~.",
         "Bold, italic, both, bold, italic and gone."),
        ("2 * 3 and snake_case and a_b_c", "2 3 and snake case and a b c"),
        ("**half of", "half of"),
        ("Call `open_file(x)` or ``a ` b``.", "Call open file(x) or a b."),
        ("See [the page](https://example.com/a_(b)?c=1 \"Title\").", "See the page."),
        ("See [the page][1] and ![a heron](x.png).", "See the page and a heron."),
        ("[![Build](https://a.b/c.svg)](https://a.b)", "Build"),
        ("more](https://example.com) text", "more text"),
        ("Go to https://www.example.com/a/b?c=d, or <https://x.org/y>.", "Go to example.com, or x.org."),
        ("Write to <me@example.com>.", "Write to me@example.com."),
        ("It rains [1]. It pours [2, 3][4], they say【5†source】[^note].", "It rains. It pours, they say."),
        ("## A heading", "A heading."),
        ("## A question? ##", "A question?"),
        ("- one\n- two!\n* three\n+ [x] four", "one. two! three. four."),
        ("1. first\n2) second", "1. first. 2) second."),
        ("> quoted\n>> twice", "quoted twice"),
        ("above\n\n---\n* * *\nbelow", "above below"),
        ("| Name | Age |\n|:---|---:|\n| Ann | 5 |", "Name, Age. Ann, 5."),
        ("Look:\n```python\nx = 1 * 2\n```\nDone.", "Look: A block of code. Done."),
        ("```\nnever closed\n# x", "A block of code."),
        ("~~~\n```\n~~~\nEnd", "A block of code. End"),
        ("Fine 😀👍🏽 then 🇫🇷 ❤️!", "Fine then!"),
        ("a → b -> c", "a, b, c"),
        ("<b>bold</b><br/>line <!-- no --> &amp; more &lt;x&gt;", "bold line & more <x>"),
        ("a < b and c > d", "a < b and c > d"),
        (r"\*not bold\* and \# no \[link\]", "*not bold* and # no [link]"),
        ("wrapped\ntext", "wrapped text"),
        ("Costs $5 (10 % off) – 3.5 °C", "Costs $5 (10 % off) – 3.5 °C"),
        ("今天 **很好**。", "今天 很好。"),
    ],
)  # fmt: skip
def test_what_is_said(written: str, said: str) -> None:
    assert spoken_text(written) == said


@pytest.mark.parametrize(
    "written", ["", " \n", "---", "***", "😀", "|---|---|", "```"[:2], "[1]", "...", "#", "- ", "<br>", "\ue000"]
)
def test_what_is_for_the_eye_only(written: str) -> None:
    assert spoken_text(written) == ""


def test_an_answer_that_comes_in_pieces() -> None:
    splitter = SentenceSplitter()
    text = "# Plan\n**Take the [train](https://a.b/c)**. Then:\n```sh\nrm *.tmp. Now\n```\n- Walk [2]\n"
    pieces = splitter.feed(text) + splitter.flush()
    said = [spoken_text(piece.text) for piece in pieces if not piece.is_code]
    assert said == ["Plan.", "Take the train.", "Then:", "A block of code.", "Walk."]


MARKS = ("*", "_", "`", "[", "]", "(", ")", "a", " ", "\n", "|", "#", "<", ">", "&lt;", "😀", "1", "\\", "~", "-")


@given(st.text(max_size=200) | st.lists(st.sampled_from(MARKS), max_size=80).map("".join))
def test_whatever_is_written_is_one_clean_line(text: str) -> None:
    said = spoken_text(text)
    assert said == said.strip()
    assert not re.search(r"\s\s|\n|[\U0001f000-\U0001faff]", said)
    assert "**" not in said or "\\" in text or "`" in text
    assert said == "" or any(character.isalnum() for character in said)


@pytest.mark.parametrize(
    "part",
    [
        "[",
        "[a](",
        "<a ",
        "<!--",
        "`a",
        "*a",
        "_",
        "\\",
        "http://",
        "| ",
        "- ",
        ">",
        "【",
        "[1,",
        "&",
        "(((",
        "a@",
        "``` ",
    ],
)
def test_long_texts_take_little_time(part: str) -> None:
    began = time.process_time()
    spoken_text(part * 10_000)
    spoken_text(f"{part}\n" * 10_000)
    assert time.process_time() - began < 4
