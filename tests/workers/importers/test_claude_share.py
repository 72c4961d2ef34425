"""Saved pages of Claude's share links."""

from __future__ import annotations

import io
import json

import pytest

from config.errors import UnreadableImport
from tests.exports.claude import claude_message
from tests.exports.pages import (
    CLAUDE_URL,
    claude_asked,
    claude_page,
    claude_said,
    flight_page,
    new_page,
    routed,
    saved_page,
    shared_data,
    turbo_stream,
)
from tests.workers.importers.reading import assert_resumes, only, path, read, reasons, shown
from workers.importers.detect import importer_for
from workers.importers.share_page import RENDERED

SOURCE = "claude"
HELLO = [("user", "Hello?"), ("assistant", "Hello.")]
PAGE = claude_page(claude_asked("<p>Hello?</p>"), claude_said("<p>Hello.</p>"))
SNAPSHOT = {
    "uuid": "s",
    "snapshot_name": "Roses",
    "chat_messages": [
        claude_message("a", "human", "Hello?", index=0),
        claude_message("b", "assistant", "Hello.", index=1),
    ],
}


def test_what_the_page_shows() -> None:
    found = only(PAGE, SOURCE)
    assert shown(found) == HELLO
    assert (found.title, found.url) == ("Roses", CLAUDE_URL)
    assert found.native_id == CLAUDE_URL.rpartition("/")[2]
    assert found.notes == [RENDERED]
    assert only(PAGE, SOURCE) == found
    assert_resumes(PAGE, SOURCE)


@pytest.mark.parametrize(
    "page",
    [
        PAGE.replace(b'data-testid="user-message" ', b""),
        PAGE.replace(b"font-claude-response", b"font-claude-message").replace(b"data-is-streaming", b"data-x"),
        PAGE.replace(b"standard-markdown grid", b"progressive-markdown"),
        PAGE.replace(b"standard-markdown grid", b"grid"),
        PAGE.replace(b"font-claude-response", b"x").replace(b"data-is-streaming", b"data-x"),
        PAGE.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf  " + PAGE,
        PAGE.decode().encode("utf-16"),
        PAGE[: PAGE.index(b"<button aria-label")],
    ],
)
def test_every_generation_of_the_page(page: bytes) -> None:
    assert shown(only(page, SOURCE)) == HELLO


def test_a_page_that_does_not_say_where_it_is_from() -> None:
    page = claude_page(claude_asked("Hello?"), claude_said("Hello."), claude_asked("claude.ai?"), url=None)
    found = only(page, SOURCE)
    assert (found.url, len(found.messages)) == (None, 3)
    assert only(page, SOURCE).native_id == found.native_id


def test_what_is_around_the_prose_is_not_part_of_it() -> None:
    around = (
        '<button class="group/status"><span>Thought for 5s</span></button><div>chrome</div>'
        '<div class="group/artifact-block artifact-block-cell"><div>Poster</div></div>'
    )
    inside = (
        '<p>See <strong>this</strong>:</p><div class="relative"><div class="text-text-500">python</div>'
        '<div><button>Copy</button></div><pre class="code-block__code"><code class="language-python" style="white-space'
        ': pre;"><span class="token">if</span> a &lt; b:\n    go()</code></pre></div><p>Then '
        '<a class="[&>b]:x" href="https://x.example/?a=1&amp;b=2">more</a><!-- --> and '
        '<span class="katex"><span class="katex-mathml"><math><semantics><mi>x</mi><annotation '
        'encoding="application/x-tex">x^2</annotation></semantics></math></span>'
        '<span class="katex-html" aria-hidden="true">x2</span></span>.</p>'
    )
    found = only(claude_page(claude_asked("Draw"), claude_said(inside, around)), SOURCE)
    assert shown(found)[1][1] == (
        "[artifact: Poster]\n\nSee **this**:\n\n```python\nif a < b:\n    go()\n```\n\n"
        "Then [more](https://x.example/?a=1&b=2) and $x^2$."
    )


def test_files_go_with_the_message_after_them() -> None:
    file = '<div data-testid="file-thumbnail"><button><h3>no</h3></button><h3>plan.pdf</h3></div>'
    found = only(claude_page(file, claude_asked("Read it"), claude_said("Done.")), SOURCE)
    assert path(found)[0].parts["attachments"] == [{"name": "plan.pdf"}]


@pytest.mark.parametrize(
    "page",
    [
        flight_page(f"1:{json.dumps(['$', 'div', None, {'data': SNAPSHOT}])}", title="x", url=CLAUDE_URL),
        saved_page(
            f'<script id="__NEXT_DATA__" type="application/json">{json.dumps({"props": SNAPSHOT})}</script>',
            "Roses | Claude",
            CLAUDE_URL,
        ),
    ],
)
def test_the_data_of_the_page_is_read_before_what_it_shows(page: bytes) -> None:
    found = only(page, SOURCE)
    assert shown(found) == HELLO
    assert (found.native_id, found.url, found.notes) == ("s", CLAUDE_URL, [])
    assert [message.native_id for message in found.messages] == ["a", "b"]


@pytest.mark.parametrize(
    "page",
    [
        claude_page(),
        claude_page(title="Claude"),
        claude_page(claude_asked(""), claude_said("<script>x</script>")),
        saved_page("<script>" + "x()" * 100_000, "Roses", CLAUDE_URL),
        flight_page('1:{"chat_messages":[]}', '2:{"chat_messages":[7]}', title="x", url=CLAUDE_URL),
    ],
)
def test_a_page_without_a_conversation_is_told(page: bytes) -> None:
    (told,) = reasons(read(page, SOURCE))
    assert told.startswith("the page holds no conversation that can be read")


def test_pages_of_others_are_not_ours() -> None:
    text = 'On claude.ai the class is font-claude-message, the test id data-testid="user-message".'
    chatgpt = new_page(turbo_stream(routed(shared_data([("user", text)]))))
    assert importer_for(io.BytesIO(chatgpt), "a.html").source == "chatgpt"
    for page in (
        saved_page(text, "A page about Claude", "https://blog.example/claude.ai"),
        saved_page("Just a moment: challenge-platform", "Just a moment...", CLAUDE_URL),
        saved_page(text, "x", "https://claude.ai.evil.example/share/12c19487-c220-439e-a053-5d66f00ab6b0"),
    ):
        with pytest.raises(UnreadableImport):
            importer_for(io.BytesIO(page), "a.html")


def test_a_page_in_another_charset() -> None:
    page = claude_page(claude_asked("Größe?"), claude_said("Größe."))
    latin = page.decode().replace("utf-8", "windows-1252").encode("cp1252")
    assert shown(only(latin, SOURCE)) == [("user", "Größe?"), ("assistant", "Größe.")]
    for wrong in (b"no-such-charset", b"utf-8", b"hex", b"utf-16"):
        damaged = latin.replace(b"windows-1252", wrong)
        assert [role for role, _ in shown(only(damaged, SOURCE))] == ["user", "assistant"]
