"""HTML to Markdown: what is read stays, what runs goes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.importers.html_markdown import markdown


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>One</p><p>Two  \n words</p>", "One\n\nTwo words"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<h2>Title <b>x</b></h2><p>Text</p>", "## Title **x**\n\nText"),
        ("<p>so <strong> bold </strong>, <em>soft</em> &amp; <del>gone</del></p>", "so **bold** , *soft* & ~~gone~~"),
        ("<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>", "- a\n\n- b\n\n  - c"),
        ("<ol><li><p>a</p></li><li>b</li></ol>", "1. a\n\n2. b"),
        ("<ul><li>a<li>b</ul>", "- a\n\n- b"),
        (
            '<pre><code class="language-python">if a &lt; b:\n    go()\n</code></pre>',
            "```python\nif a < b:\n    go()\n```",
        ),
        ("use <code>a `b` &lt;c&gt;</code>", "use `` a `b` <c> ``"),
        ("<blockquote><p>a</p><p>b</p></blockquote>", "> a\n>\n> b"),
        (
            '<a href="https://x.example/(a)">x</a> <a href="javascript:alert(1)">y</a>',
            "[x](https://x.example/%28a%29) y",
        ),
        ('<img src="https://spy.example/b.gif" alt="a cat"><img src="x">', "[image: a cat][image]"),
        ("<script>alert(1)</script><style>p{}</style>a<noscript>b</noscript>", "a"),
        ("<p>write &lt;script&gt; and 1 &lt; 2</p>", "write &lt;script> and 1 < 2"),
        ("a<!-- <b>hidden</b> -->b<!doctype html>c", "abc"),
        (
            "<table><tr><th>A</th><th>B</th></tr><tr><td>1|2</td><td>3</td></tr></table>",
            "| A | B |\n| --- | --- |\n| 1\\|2 | 3 |",
        ),
        ("a<hr>b", "a\n\n---\n\nb"),
        ("</p></div>text</b> 1 < 2 <", "text 1 < 2 <"),
        ("", ""),
    ],
)
def test_markup(html: str, expected: str) -> None:
    assert markdown(html) == expected


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<!--",
        "<a ",
        '<a x="',
        "<b>",
        "</b>",
        "<ul><li>",
        "<blockquote>",
        "<table><tr><td>",
        "&lt;",
        "<script>",
        "`",
    ],
)
def test_hostile_markup_takes_linear_time(piece: str) -> None:
    started = time.process_time()
    markdown(piece * (400_000 // len(piece)))
    assert time.process_time() - started < 3


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<b>", "<pre>", "</pre>", "<li>", "<td>", "x", " ", "\n", "<", "&lt;b", "<script>"]
        )
    )
)
def test_no_tag_survives_outside_code(pieces: list[str]) -> None:
    text = markdown("".join(piece for piece in pieces if piece not in ("<pre>", "</pre>")))
    assert not any(tag in text for tag in ("<b", "<p", "<s", "<l", "<t"))
    markdown("".join(pieces))
