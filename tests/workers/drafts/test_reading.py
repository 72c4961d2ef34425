"""A draft is read while it is written, however it is cut, and gone on with from any place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.drafts.reading import DraftReader, JsonDraft, TextDraft
from workers.llm.json_strings import spelled


def read(reader: DraftReader, text: str, cuts: int) -> tuple[str | None, str]:
    said = ""
    for start in range(0, len(text), cuts):
        for piece in reader.feed(text[start : start + cuts]):
            assert reader.title is not None, "the title comes first"
            said += piece
    said += reader.rest()
    return reader.title, said


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1)


@given(title=st.text(min_size=1), description=st.text(), backwards=st.booleans(), cuts=st.integers(1, 9))
def test_json_in_any_order(title: str, description: str, backwards: bool, cuts: int) -> None:
    members = [("title", title), ("description", description)]
    text = json.dumps(dict(members[::-1] if backwards else members))
    assert read(JsonDraft(), text, cuts) == (title, description)


@given(title=st.text(min_size=1), said=st.text(), rest=st.text(), cuts=st.integers(1, 9))
def test_json_is_gone_on_with(title: str, said: str, rest: str, cuts: int) -> None:
    reader = JsonDraft()
    begun = reader.resume(title, said)
    assert json.loads(f'{begun}{spelled(rest)}"}}') == {"title": title, "description": said + rest}
    assert read(reader, f'{spelled(rest)}"}}', cuts) == (title, rest)


@given(title=words, description=st.text(), cuts=st.integers(1, 9), mark=st.sampled_from(["", "# ", "\n\n## ", "**"]))
def test_a_title_and_a_text(title: str, description: str, cuts: int, mark: str) -> None:
    title = title.strip(" #*") or "x"
    expected = description.lstrip()
    assert read(TextDraft(), f"{mark}{title}\n\n{description}", cuts) == (title, expected)


@pytest.mark.parametrize("place", range(12))
def test_a_text_is_gone_on_with(place: int) -> None:
    whole = "A title\n\nSome text.\n\nMore."
    description = whole.partition("\n\n")[2]
    reader = TextDraft()
    assert reader.resume("A title", description[:place]) + description[place:] == whole
    assert read(reader, description[place:], 3) == ("A title", description[place:])


@pytest.mark.parametrize(("text", "title"), [("", ""), ("  \n ", ""), ("# Only a title", "Only a title")])
def test_a_text_without_a_description(text: str, title: str) -> None:
    assert read(TextDraft(), text, 4) == (title, "")
