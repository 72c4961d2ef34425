"""Messages on rendered pages, and the data of pages: whatever a stranger wrote into them."""

from __future__ import annotations

import io
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports.pages import claude_asked, claude_page, claude_said, flight_page, grok_bubble, grok_page
from tests.workers.importers.reading import check, shown
from workers.importers import flight
from workers.importers.claude_share import ClaudeShareImporter
from workers.importers.grok_share import GrokShareImporter
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.web_page import page_text

READERS = (ClaudeShareImporter(), GrokShareImporter())
ASKED, SAID = claude_asked("Hello?"), claude_said("Hello.")

PIECES = [
    "<div>", "</div>", "<p>", "</p>", "<", ">", '"', "'", "<!--", "-->", "<script>", "</script>", "<svg>", "</svg>",
    '<div data-testid="user-message">', '<div class="font-claude-response">', '<div class="standard-markdown">',
    '<div class="message-bubble">', '<div class="items-end" id="x">', "<math>", "</math>", "<button>", "</button>",
    '<annotation encoding="application/x-tex">', "</annotation>", '<code style="white-space: pre">', "</code>", "<pre>",
    '<span class="font-mono text-xs">', "</span>", '<div class="artifact-block-cell">', "text ", "\n", "&lt;", "<br>",
]  # fmt: skip


def read(page: str | bytes) -> list[ImportedConversation | ImportFailure]:
    return [reader.shared(page if isinstance(page, str) else page.decode()) for reader in READERS]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_markup_is_read_or_told(pieces: list[str]) -> None:
    for found in read(f'<div data-testid="user-message">{"".join(pieces)}'):
        if isinstance(found, ImportedConversation):
            check(found)


@pytest.mark.parametrize("piece", [*PIECES, "<a ", '<a "', "<a x='", '<a b="c">', "<a>" * 50 + "</b>"])
def test_hostile_markup_takes_linear_time(piece: str) -> None:
    started = time.process_time()
    inside = piece * (60_000 // len(piece))
    read(claude_page(claude_asked(inside), claude_said("x" * 100 + inside)))
    assert time.process_time() - started < 5


@pytest.mark.parametrize("tag", ["div", "b", "blockquote", "ul", "span"])
def test_messages_20_000_levels_deep_and_levels_inside_them(tag: str) -> None:
    opened, closed = f'<{tag} class="items-start" id="i">' * 20_000, f"</{tag}>" * 20_000
    claude = ClaudeShareImporter().shared(claude_page(opened, ASKED, SAID, closed, ASKED).decode())
    assert [text for _, text in shown(check(claude))] == ["Hello?", "Hello.", "Hello?"]
    deep = grok_page(grok_bubble(f"{opened}Hello?{closed}", asked=True), grok_bubble("Hello."))
    grok = check(GrokShareImporter().shared(deep.decode()))
    assert [(role, "Hello" in text) for role, text in shown(grok)] == [("user", True), ("assistant", True)]


def test_what_is_never_closed_ends_with_the_page() -> None:
    found = check(ClaudeShareImporter().shared('<div data-testid="user-message">Hello?<div class="x'))
    assert shown(found) == [("user", 'Hello?&lt;div class="x')]


def test_nothing_of_a_page_runs_or_loads() -> None:
    inside = (
        '<script>alert(1)</script><iframe src="https://x.example"></iframe><img src="https://spy.example/b.gif" '
        'onerror="x()"><a href="javascript:alert(1)">click</a><p onclick="x()">&lt;script&gt;</p><style>p{}</style>'
    )
    found = check(ClaudeShareImporter().shared(claude_page(claude_asked(inside)).decode()))
    assert shown(found) == [("user", "[image]click\n\n&lt;script>")]


def test_a_page_that_is_too_large_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    page = claude_page(ASKED, SAID)
    monkeypatch.setattr("workers.importers.web_page.MAX_PAGE", len(page))
    assert page_text(io.BytesIO(page)) is not None
    assert page_text(io.BytesIO(page + b" ")) is None


# --- data in rows ---


def rows(*given: str) -> list[object]:
    return list(flight.values_of(flight_page(*given, title="x", url=None).decode()))


def test_rows_of_every_kind() -> None:
    found = rows(
        '1:I[1,["a"]]', '2:["$3","$undefined","$$x","$D2025-01-01","$L3",{"a":"$9"}]', "3:T5,naïv", 'x"', ":[7]"
    )
    assert found == [["naïv", None, "$x", "2025-01-01", "$L3", {"a": "$9"}], [7]]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "1:",
        "1:[",
        "1:T",
        "1:Tffffffff,x",
        "1:T-1,x",
        "\n\n:",
        '1:"$1"',
        "1:" + "[" * 20_000,
        "1:NaN",
        '1:"\\ud800"',
    ],
)
def test_damaged_rows_are_passed_over(given: str) -> None:
    assert [7] in rows(":[7]", given)
    assert rows(given + "\n", ":[7]") is not None


def test_a_push_that_is_cut_off_and_one_with_a_bracket_in_it() -> None:
    page = f'<script>self.__next_f.push({json.dumps([1, ":[7]"])})</script><script>self.__next_f.push([1,"8:'
    assert list(flight.values_of(page)) == [[7]]
    assert rows(':["]);</script>"]') == [["]);</script>"]]
