from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.embedding.chunking import MAX_CHARS_PER_TOKEN, sentences, split


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def threes(texts: Sequence[str]) -> list[int]:
    """Counts that are more than the sum of their parts."""
    return [3 * len(text.split()) + text.count("\n") for text in texts]


def greedy(texts: Sequence[str]) -> list[int]:
    return [9 * len(text) for text in texts]


markdown = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            ["\n", "\n\n", "```\n", "```python\n", "~~~\n", "# Title\n", " ", ". ", "。", "word ", "x" * 300, "🎉"]
        ),
        st.text("abc .!?\n\t", max_size=200),
    ),
    max_size=25,
).map("".join)


@settings(deadline=None, max_examples=200)
@given(markdown, st.integers(1, 40), st.sampled_from([words, characters, threes, greedy]))
def test_chunks_are_slices_that_cover_the_text_and_fit(
    text: str, limit: int, count: Callable[[Sequence[str]], list[int]]
) -> None:
    chunks = split(text, count, limit)
    done = 0
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text == chunk.text.strip() != ""
        assert not text[done : chunk.start].strip()
        done = chunk.end
        assert count([chunk.text])[0] <= limit or len(chunk.text) == 1
        assert len(chunk.text) <= limit * MAX_CHARS_PER_TOKEN or count([chunk.text])[0] <= limit
    assert not text[done:].strip()


def test_what_fits_is_one_chunk() -> None:
    text = "  # A title\n\nA paragraph.\n\n```\ncode\n```\n"
    assert [chunk.text for chunk in split(text, words, 20)] == [text.strip()]
    assert split(" \n\t ", words, 20) == []
    assert split("", words, 20) == []


def test_fenced_code_stays_whole() -> None:
    code = "```python\ndef f():\n\n    return 1\n\n\n# not a title\n```"
    before, after = "Some words before the code here. " * 2, "And some words after it, too."
    chunks = split(f"{before}\n\n{code}\n{after}", words, 14)
    assert code in [chunk.text for chunk in chunks]
    longer = "````\n```\n" + "inner words here\n\n" * 3 + "```\n````"
    assert longer in [chunk.text for chunk in split(f"{before}\n\n{longer}\n{after}", words, 14)]


def test_sentences_stay_whole() -> None:
    text = " ".join(f"Sentence {number} has version 3.14 in it (really!)." for number in range(30))
    for chunk in split(text, words, 20):
        assert chunk.text.startswith("Sentence")
        assert chunk.text.endswith("(really!).")


def test_a_title_goes_with_its_section() -> None:
    section = "## Title {}\n\nOne two three four five six seven. Eight nine ten eleven twelve thirteen fourteen."
    text = "\n\n".join(section.format(number) for number in range(6))
    for chunk in split(text, words, 11):
        assert not chunk.text.rsplit("\n", 1)[-1].startswith("##")


def test_unbroken_runs_are_cut_by_length() -> None:
    blob = "QUJD" * 5000
    chunks = split(f"Here it is: {blob} and that was it.", words, 50)
    assert max(len(chunk.text) for chunk in chunks) <= 50 * MAX_CHARS_PER_TOKEN
    assert "".join("".join(chunk.text.split()) for chunk in chunks) == f"Hereitis:{blob}andthatwasit."


def test_sentence_borders() -> None:
    text = 'One. Two is 3.14! "Three?" (four…) 五。六！ seven'
    assert [text[start:end] for start, end in sentences(text)] == [
        "One.", "Two is 3.14!", '"Three?"', "(four…)", "五。", "六！", "seven"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "a.\n" * 700_000,
        "ab\n\n" * 500_000,
        "." * 2_000_000,
        "word " * 400_000,
        " " * 2_000_000 + "x",
        "```\n" * 500_000,
    ],
    ids=["lines", "paragraphs", "dots", "words", "spaces", "fences"],
)
def test_long_messages_take_seconds(text: str) -> None:
    calls = 0

    def count(texts: Sequence[str]) -> list[int]:
        nonlocal calls
        calls += 1
        return [len(text) // 4 + 1 for text in texts]

    started = time.process_time()
    chunks = split(text, count, 220)
    assert time.process_time() - started < 10
    assert calls < 20
    assert chunks[-1].end == len(text.rstrip())


def test_importing_it_loads_no_model_library() -> None:
    code = "import sys, workers.embedding.chunking, workers.embedding.minilm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
