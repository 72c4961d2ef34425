"""What a JSON object's members say is given out as it comes, however it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.llm.json_strings import JsonStrings, spelled

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def read(document: str, cuts: int = 1) -> dict[str, str]:
    reader, found = JsonStrings(), dict[str, str]()
    for start in range(0, len(document), cuts):
        for name, text in reader.feed(document[start : start + cuts]):
            found[name] = found.get(name, "") + text
    return found


@given(document=st.dictionaries(st.text(), _values), ascii_only=st.booleans(), cuts=st.integers(1, 9))
def test_every_string_member_and_nothing_else(document: dict[str, object], ascii_only: bool, cuts: int) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=1 if cuts % 2 else None)
    assert read(text, cuts) == {name: value for name, value in document.items() if isinstance(value, str) and value}


@given(st.text())
def test_what_is_spelled_is_read_again(text: str) -> None:
    assert read(f'{{"a": "{spelled(text)}') == ({"a": text} if text else {})
    assert "\x7f" not in spelled(text)


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d\ude00", "😀"),
        (r"\ud83d", "\ufffd"),
        (r"\ude00", "\ufffd"),
        (r"\ud83dx", "\ufffdx"),
        (r"\ud83d\n", "\ufffd\n"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\uzzzz", "\ufffd"),
        (r"a\/b\"c\\d", 'a/b"c\\d'),
    ],
)
def test_halves_of_characters(escaped: str, text: str) -> None:
    assert read(f'{{"a": "{escaped}", "b": "c"}}') == {"a": text, "b": "c"}


@pytest.mark.parametrize(
    "text", ["", "no JSON", '["a"]', '"a"', "}", "]]]", '{"a": 1} {"b": "c"}', '{"a": ["b", "c"]}']
)
def test_what_is_no_such_object_gives_nothing(text: str) -> None:
    assert read(text) == {}


def test_it_tells_when_the_object_is_complete() -> None:
    reader = JsonStrings()
    list(reader.feed('{"a": {"b": "}"}'))
    assert not reader.whole
    list(reader.feed("}"))
    assert reader.whole
