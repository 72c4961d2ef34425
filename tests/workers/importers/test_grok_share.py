"""Saved pages of Grok's share links."""

from __future__ import annotations

import json

import pytest

from tests.exports.grok import grok_share
from tests.exports.pages import GROK_URL, flight_page, grok_bubble, grok_page, saved_page
from tests.workers.importers.reading import assert_resumes, only, path, read, reasons, shown
from workers.importers.share_page import RENDERED

SOURCE = "grok"
HELLO = [("user", "Hello?"), ("assistant", "Hello.")]
PAGE = grok_page(grok_bubble("Hello?", asked=True, id="r0"), grok_bubble("<p>Hello.</p>", id="r1"))


def test_what_the_page_shows() -> None:
    found = only(PAGE, SOURCE)
    assert shown(found) == HELLO
    assert (found.title, found.url, found.notes) == ("Roses", GROK_URL, [RENDERED])
    assert found.native_id == GROK_URL.rpartition("/")[2]
    assert [message.native_id for message in found.messages] == ["response-r0", "response-r1"]
    assert_resumes(PAGE, SOURCE)


@pytest.mark.parametrize(
    "page",
    [
        PAGE.replace(b' id="response-r0"', b"").replace(b' id="response-r1"', b""),
        PAGE.replace(b"response-content-markdown", b"prose"),
        PAGE.replace(b"items-start", b"x"),
        saved_page(
            '<div data-testid="user-message">Hello?</div><div data-testid="assistant-message"><p>Hello.</p></div>',
            "Roses - Grok",
            GROK_URL.replace("_", "%3D_"),
        ),
    ],
)
def test_every_generation_of_the_page(page: bytes) -> None:
    assert shown(only(page, SOURCE)) == HELLO


def test_code_thoughts_and_files() -> None:
    inside = (
        '<div class="thinking-container">Thinking</div><p>Run <code>x</code>:</p><div class="not-prose"><div>'
        '<span class="font-mono text-xs">Python</span><button>Copy</button></div><div style="display: block;">'
        '<code style="white-space: pre;"><span>if a:\n    go()</span></code></div></div><p>Done.</p>'
    )
    chip = '<div class="flex bg-chip"><svg><title>File</title></svg><span class="truncate">plan.pdf</span></div>'
    found = only(grok_page(chip, grok_bubble("Look", asked=True), grok_bubble(inside)), SOURCE)
    assert path(found)[0].parts["attachments"] == [{"name": "plan.pdf"}]
    assert shown(found)[1][1] == "Run `x`:\n\n```python\nif a:\n    go()\n```\n\nDone."


def test_the_data_of_the_page_is_read_before_what_it_shows() -> None:
    answer = "Hello. " + "ä😀 long " * 200
    data = grok_share("c", "Roses")
    data["responses"][1]["message"] = "$2a"
    data["responses"][0]["query"] = "$$5?"
    rows = [
        '1:I[123,["x.js"],"default"]',
        ':HL["/a.css","style"]',
        f"2a:T{len(answer.encode()):x},{answer}",
        f"3:{json.dumps(['$', '$L1', None, {'state': data}])}",
    ]
    found = only(flight_page(*rows, title="x", url=GROK_URL, pieces=5), SOURCE)
    assert shown(found) == [("user", "$5?"), ("assistant", answer)]
    assert (found.title, found.native_id, found.url, found.model) == ("Roses", "c", GROK_URL, "grok-4")


@pytest.mark.parametrize(
    "page",
    [
        grok_page(),
        saved_page('<div id="root"></div>', "Grok", GROK_URL),
        grok_page(grok_bubble("")),
        flight_page('1:{"responses":[{"message":""}]}', title="x", url=GROK_URL),
    ],
)
def test_a_page_without_a_conversation_is_told(page: bytes) -> None:
    (told,) = reasons(read(page, SOURCE))
    assert told.startswith("the page holds no conversation that can be read")
