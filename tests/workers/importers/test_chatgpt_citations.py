from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.importers.chatgpt_citations import resolve

CITE = "\ue200cite\ue202turn0search1\ue201"
OTHER = "\ue200cite\ue202turn0search2\ue202turn0news3\ue201"
LINK = "([Site](https://example.org/a))"


def reference(matched: str | None = CITE, **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"title": "Site", "url": "https://example.org/a", "type": "webpage"}
    return known | ({"matched_text": matched} if matched else {}) | more


def test_plain_text_is_left_alone() -> None:
    assert resolve("No sources here. 100 † €", {}) == ("No sources here. 100 † €", [])


def test_a_marker_becomes_a_link() -> None:
    text, sources = resolve(f"The sky is blue.{CITE} So there.", {"content_references": [reference()]})
    assert text == f"The sky is blue. {LINK} So there."
    assert sources == [{"title": "Site", "url": "https://example.org/a"}]


def test_grouped_pages_and_what_supports_them() -> None:
    item = {
        "title": "One",
        "url": "https://one.org",
        "supporting_websites": [{"title": "Two", "url": "https://two.org"}],
    }
    grouped = {"matched_text": CITE, "type": "grouped_webpages", "items": [item, item]}
    text, sources = resolve(f"So.{CITE}", {"content_references": [grouped]})
    assert text == "So. ([One](https://one.org), [Two](https://two.org))"
    assert len(sources) == 2


def test_the_same_marker_twice_is_told_apart_by_place() -> None:
    at = [2, 2 + len(CITE) + 2]
    pages = [reference(url=f"https://example.org/{n}", title=f"P{n}", start_idx=place) for n, place in enumerate(at)]
    text, _ = resolve(f"A {CITE}B {CITE}", {"content_references": pages[::-1]})
    assert text == "A ([P0](https://example.org/0))B ([P1](https://example.org/1))"


def test_markers_are_matched_by_order_when_counts_agree() -> None:
    pages = [reference(f"\ue200cite\ue202x{n}\ue201", title=f"P{n}") for n in range(2)]
    text, _ = resolve(f"A {CITE} B {OTHER}", {"content_references": pages})
    assert text == "A ([P0](https://example.org/a)) B ([P1](https://example.org/a))"


def test_otherwise_markers_go_and_sources_are_listed() -> None:
    footnote = {
        "matched_text": " ",
        "type": "sources_footnote",
        "sources": [{"title": "Site", "url": "https://example.org/a"}],
    }
    text, _ = resolve(f"A {CITE}B{OTHER}", {"content_references": [footnote]})
    assert text == "A B\n\nSources:\n- [Site](https://example.org/a)"
    assert resolve(f"A{CITE}B", {})[0] == "AB"


def test_a_source_without_an_address_shows_its_name() -> None:
    file = {"matched_text": CITE, "type": "file", "name": "notes.pdf"}
    assert resolve(f"As noted{CITE}.", {"content_references": [file]})[0] == "As noted (notes.pdf)."
    hidden = {"matched_text": CITE, "type": "hidden"}
    assert resolve(f"As noted{CITE}.", {"content_references": [hidden]})[0] == "As noted."


def test_scripts_do_not_become_links() -> None:
    bad = reference(url="javascript:alert(1)")
    assert resolve(f"x{CITE}", {"content_references": [bad]}) == ("x", [])


def test_entities_keep_their_name() -> None:
    text = 'Go to \ue200entity\ue202["city", "Paris", "France"]\ue201 soon'
    assert resolve(text, {})[0] == "Go to Paris soon"
    assert resolve("a \ue200entity\ue202[broken\ue201b", {})[0] == "a b"
    assert resolve("a \ue200entity\ue202" + "[" * 5000 + "\ue201b", {})[0] == "a b"


def test_stray_and_cut_off_markers_vanish() -> None:
    assert resolve("\ue203marked\ue204 word \ue200cite\ue202turn0sea", {})[0] == "marked word "


@pytest.mark.parametrize("place", ["start_ix", "matched_text"])
def test_the_older_generation(place: str) -> None:
    text = "Water is wet【6†source】."
    page = {"title": "Site", "url": "https://example.org/a"}
    old = {"start_ix": 12, "end_ix": 22, "metadata": page} if place == "start_ix" else reference("【6†source】")
    key = "citations" if place == "start_ix" else "content_references"
    assert resolve(text, {key: [old]})[0] == f"Water is wet {LINK}."


JUNK = st.recursive(
    st.none() | st.integers() | st.text("a\ue200\ue201【†】 ", max_size=6) | st.just("https://example.org"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["matched_text", "start_idx", "start_ix", "url", "title", "items"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.text("ab \ue200\ue201\ue202【1†】", max_size=40), JUNK, JUNK)
def test_anything_resolves_to_text_without_markers(text: str, references: Any, citations: Any) -> None:
    found, sources = resolve(text, {"content_references": references, "citations": citations})
    assert isinstance(sources, list)
    assert sources or references or citations or "\ue200" not in found


def test_a_link_keeps_the_words_it_was_written_with() -> None:
    marker = "\ue200url\ue202the guide\ue202https://b.example/guide\ue201"
    assert resolve(f"See {marker}.", {})[0] == "See [the guide](https://b.example/guide)."
    page = {"matched_text": marker, "title": "Guide | B", "url": "https://b.example/guide?utm_source=x"}
    text, sources = resolve(f"See {marker}.", {"content_references": [page]})
    assert text == "See [the guide](https://b.example/guide)."
    assert sources == [{"title": "Guide | B", "url": "https://b.example/guide?utm_source=x"}]


def test_a_link_to_a_page_that_was_found() -> None:
    marker = "\ue200url\ue202the guide\ue202turn0search1\ue201"
    assert resolve(f"See {marker}.", {"content_references": [reference(marker)]})[0] == (
        "See [the guide](https://example.org/a)."
    )
    assert resolve(f"See {marker}.", {})[0] == "See the guide."


def test_a_file_that_is_cited_is_named() -> None:
    text = "It is 42【4:0†source】."
    cited = {"start_ix": 8, "end_ix": 20, "metadata": {"type": "file", "name": "air.csv"}}
    assert resolve(text, {"citations": [cited]}) == ("It is 42 (air.csv).", [])
