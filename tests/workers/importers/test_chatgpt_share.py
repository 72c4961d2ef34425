"""Saved pages of ChatGPT's share links."""

from __future__ import annotations

import io
from typing import Any

import pytest

from config.errors import UnreadableImport
from tests.exports import chatgpt_conversation, chatgpt_message
from tests.exports.pages import (
    URL,
    chatgpt_asked,
    chatgpt_page,
    chatgpt_said,
    new_page,
    old_page,
    routed,
    shared_data,
    turbo_stream,
)
from tests.workers.importers.reading import assert_resumes, only, read, reasons, shown
from workers.importers.detect import importer_for
from workers.importers.share_page import RENDERED

HELLO = [("user", "Hello?"), ("assistant", "Hello.")]
STREAM = turbo_stream(routed(shared_data()))


@pytest.mark.parametrize(
    "page",
    [
        new_page(STREAM + "\n"),
        new_page(STREAM[:50], STREAM[50:200], STREAM[200:]),
        new_page('P99:["early"]\n', STREAM + "\n", "P98:[]"),
        new_page(STREAM).replace(b"\n", b"\r\n"),
        old_page(shared_data()),
        old_page(chatgpt_conversation("c", "Shared")),
    ],
)
def test_every_form_of_the_page(page: bytes) -> None:
    found = only(page, "chatgpt")
    assert shown(found) == HELLO
    assert (found.title, found.url) == ("Shared", URL)
    assert found.native_id == "67aa0000-0000-8000-8000-000000000001"
    assert_resumes(page, "chatgpt")


def test_the_model_is_kept_and_any_text_survives() -> None:
    text = 'he said ");\u2028</b> \\" \U0001f600'
    found = only(new_page(turbo_stream(routed(shared_data([("user", text)])))), "chatgpt")
    assert shown(found) == [("user", text)]
    assert found.model == "gpt-5"


def test_a_page_of_one_turn() -> None:
    data = {"title": "One", "messages": [chatgpt_message("a", "user", "A"), chatgpt_message("b", "assistant", "B")]}
    found = only(new_page(turbo_stream({"loaderData": {"routes/s.$id": data}})), "chatgpt")
    assert shown(found) == [("user", "A"), ("assistant", "B")]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (new_page(turbo_stream({"loaderData": {"root": {}}, "errors": {"root": "404"}})), "holds no conversation"),
        (new_page(turbo_stream(routed(shared_data([])))), "holds no conversation"),
        (new_page("[broken"), "damaged"),
        (new_page("P1:[]"), "there is no pool"),
        (old_page(shared_data([])), "holds no conversation"),
        (old_page(shared_data()).replace(b'"props"', b"oops"), "damaged"),
        (new_page(STREAM).replace(b'enqueue("', b"enqueue(x"), "damaged"),
    ],
)
def test_what_is_no_conversation_is_told(page: bytes, reason: str) -> None:
    (told,) = reasons(read(page, "chatgpt"))
    assert reason in told


def test_the_same_id_twice_loses_nothing() -> None:
    data = shared_data([("user", "A"), ("assistant", "B")])
    nodes: list[Any] = data["linear_conversation"]
    nodes[1]["id"] = nodes[0]["id"]
    assert [text for _, text in shown(only(old_page(data), "chatgpt"))] == ["A", "B"]


def test_a_challenge_is_not_called_a_conversation() -> None:
    page = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>chatgpt</body></html>"
    with pytest.raises(UnreadableImport, match="asks whether a person is there"):
        importer_for(io.BytesIO(page), "share.html")


# --- what the page shows, where its data is gone: browsers leave scripts out of a page in a single file ---


def test_what_the_page_shows() -> None:
    page = chatgpt_page(chatgpt_asked("Hello?", "m1"), chatgpt_said("<p>Hello.</p>", "m2"))
    found = only(page, "chatgpt")
    assert shown(found) == HELLO
    assert (found.title, found.url, found.notes) == ("Roses", URL, [RENDERED])
    assert found.native_id == URL.rpartition("/")[2]
    assert [message.native_id for message in found.messages] == ["m1", "m2"]
    assert_resumes(page, "chatgpt")


def test_lines_code_and_tools() -> None:
    inside = (
        '<p>Run <code>x</code> and\nwait:</p><pre class="overflow-visible!"><div class="contain-inline-size">'
        '<div class="flex px-4 py-2 text-xs font-sans">python</div><div class="sticky"><div class="font-sans text-xs">'
        '<button>Copy code</button></div></div><div class="overflow-y-auto"><code class="whitespace-pre! language-'
        'python"><span><span class="hljs-keyword">if</span> a &lt; b:\n    go()\n</span></code></div></div></pre>'
    )
    tool = '<div data-message-author-role="tool" data-message-id="t"><img alt="A rose" src="https://x.example/"></div>'
    page = chatgpt_page(chatgpt_asked("One\nTwo\r\n\r\nFour &lt;b&gt;"), chatgpt_said(inside), tool)
    assert shown(only(page, "chatgpt")) == [
        ("user", "One\nTwo\n\nFour &lt;b>"),
        ("assistant", "Run `x` and wait:\n\n```python\nif a < b:\n    go()\n```"),
        ("assistant", "[image: A rose]"),
    ]


def test_the_data_of_the_page_is_read_before_what_it_shows() -> None:
    both = new_page(STREAM).replace(b"</body>", f"{chatgpt_asked('Not this')}</body>".encode())
    assert shown(only(both, "chatgpt")) == HELLO
    damaged = both.replace(b'enqueue("', b"enqueue(x")
    assert shown(only(damaged, "chatgpt")) == [("user", "Not this")]
