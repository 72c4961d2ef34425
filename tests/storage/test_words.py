"""What is indexed and what is asked go through the same rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.words import LOOKED_FOR, MAX_TERMS, MAX_WORD, holder, parse, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  … —  ", []),
        ("Hello, World!", ["hello", "world"]),
        ("ERR_4471-x in foo.py", ["err", "4471", "x", "in", "foo", "py"]),
        ("Crème BRÛLÉE straße İstanbul", ["creme", "brulee", "strasse", "istanbul"]),
        ("Yıldırım Łódź Ørsted Æther", ["yildirim", "lodz", "orsted", "aether"]),
        ("ﬁne ２０２４", ["fine", "2024"]),
        ("机器学习 is ML", ["机器", "器学", "学习", "is", "ml"]),
        ("猫", ["猫"]),
        ("用Python写", ["用", "python", "写"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("a" * 100, ["a" * MAX_WORD]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text())
def test_words_of_words_are_themselves(text: str) -> None:
    found = words(text)
    assert all(found)
    assert all(words(word) == [word] for word in found)


def test_a_query_is_taken_apart() -> None:
    query = parse('deploy "blue green" -kubernetes -"old way" to ERR-7')
    assert query.terms == ("deploy", "to", "err", "7")
    assert query.phrases == (("blue", "green"),)
    assert query.excluded == (("kubernetes",), ("old", "way"))
    assert query.text == "deploy blue green to ERR-7"


@pytest.mark.parametrize("text", ["", '""', "-", "- -", '-"', "?!", '"…"'])
def test_a_query_of_nothing_is_empty(text: str) -> None:
    assert parse(text).is_empty


def test_an_open_quote_reaches_to_the_end() -> None:
    assert parse('say "hello there').phrases == (("hello", "there"),)


def test_a_pasted_page_is_cut() -> None:
    assert len(parse(" ".join(f"w{n}" for n in range(1000))).terms) == MAX_TERMS


@given(st.text())
def test_every_query_can_be_parsed(text: str) -> None:
    query = parse(text)
    assert all(term for term in query.terms)
    assert all(phrase and all(phrase) for phrase in (*query.phrases, *query.excluded))


@given(
    st.lists(st.sampled_from(["a", "ab", "abc", "b", "c"])),
    st.sets(st.sampled_from(["a", "ab", "b", "x"])),
    st.booleans(),
)
def test_which_words_a_line_holds(line: list[str], wanted: set[str], many: bool) -> None:
    others = {f"w{number}" for number in range(LOOKED_FOR)} if many else set()
    assert holder(frozenset(wanted | others))(" ".join(line)) == wanted & set(line)
