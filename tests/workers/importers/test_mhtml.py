"""Pages of share links that a browser saved as a single file are read as the same pages saved as HTML."""

from __future__ import annotations

import io
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import UnreadableImport
from tests.exports.pages import (
    BOUNDARY,
    CLAUDE_URL,
    GROK_URL,
    STYLE,
    URL,
    chatgpt_asked,
    chatgpt_page,
    chatgpt_said,
    claude_asked,
    claude_page,
    claude_said,
    grok_bubble,
    grok_page,
    mhtml,
    mhtml_part,
    new_page,
    routed,
    shared_data,
    single_file,
    turbo_stream,
)
from tests.workers.importers.reading import assert_resumes, only, shown
from workers.importers.detect import importer_for
from workers.importers.mhtml import MAX_HEADER, MAX_PARTS, is_mhtml, saved_page
from workers.importers.web_page import page_text

HELLO = [("user", "Größe = 1?"), ("assistant", "Größe. 🙂")]
ASKED, SAID = (text for _, text in HELLO)
# As (source, page, where it was saved from).
PAGES = {
    "chatgpt": ("chatgpt", chatgpt_page(chatgpt_asked(ASKED), chatgpt_said(SAID), url=None), URL),
    "chatgpt's data": ("chatgpt", new_page(turbo_stream(routed(shared_data(HELLO, "Roses")))), URL),
    "claude": ("claude", claude_page(claude_asked(ASKED), claude_said(SAID), url=None), CLAUDE_URL),
    "grok": ("grok", grok_page(grok_bubble(ASKED, asked=True), grok_bubble(SAID), url=None), GROK_URL),
}
PAGE = PAGES["claude"][1]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("encoding", ["quoted-printable", "base64", "binary"])
def test_a_page_in_a_single_file(name: str, encoding: str) -> None:
    source, page, url = PAGES[name]
    data = single_file(page, url, encoding)
    found = only(data, source)
    assert shown(found) == HELLO
    assert (found.title, found.url, found.native_id) == ("Roses", url, url.rpartition("/")[2])
    as_html = page.replace(b"<html>", f"<!-- saved from url=({len(url):04}){url} --><html>".encode())
    assert found == only(as_html, source)
    assert_resumes(data, source)


@pytest.mark.parametrize(
    "data",
    [
        single_file(PAGE, CLAUDE_URL).replace(b"\r\n", b"\n"),
        single_file(PAGE, CLAUDE_URL).replace(b"MIME-Version", b"mime-version").replace(b'"', b""),
        single_file(PAGE, CLAUDE_URL, "base64").replace(b"Encoding: base64", b"Encoding:\r\n\t BASE64 "),
        mhtml(mhtml_part(PAGE, "text/html", more=f"Content-Location: {CLAUDE_URL}\r\n")),
        mhtml(mhtml_part(STYLE, "text/css"), mhtml_part(PAGE, "text/html"), url=CLAUDE_URL),
        mhtml(mhtml_part(PAGE, "application/xhtml+xml; charset=utf-8"), url=CLAUDE_URL),
        mhtml(b"no header", mhtml_part(PAGE, "text/html"), url=CLAUDE_URL),
        mhtml(mhtml_part(PAGE, "text/html"), mhtml_part(b"<p>a frame</p>", "text/html"), url=CLAUDE_URL),
        mhtml(mhtml(mhtml_part(PAGE, "text/html"), kind="multipart/alternative").replace(b"Qm", b"xx"), url=CLAUDE_URL),
        single_file(PAGE, CLAUDE_URL).partition(b"Content-Type: text/css")[0],
    ],
)
def test_however_it_is_written(data: bytes) -> None:
    found = only(data, "claude")
    assert (shown(found), found.url) == (HELLO, CLAUDE_URL)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", 'https://claude.ai/share/"><script>', "file:///home/x.html", "https://blog.example/"]
)
def test_an_address_that_is_none_of_theirs(url: str) -> None:
    data = single_file(PAGE.replace(b"</title>", b"</title>claude.ai"), url)
    if url.startswith("https://blog"):
        with pytest.raises(UnreadableImport):
            importer_for(io.BytesIO(data), "a.mhtml")
    else:
        assert only(data, "claude").url is None


@pytest.mark.parametrize("charset", ["windows-1252", "cp1252", '"Windows-1252"'])
def test_a_page_in_another_charset(charset: str) -> None:
    page = claude_page(claude_asked("Größe?"), claude_said("“Größe”.")).decode().encode("cp1252")
    for data in (
        mhtml(mhtml_part(page.replace(b"utf-8", b"x"), f"text/html; charset={charset}")),
        mhtml(mhtml_part(page.replace(b'"utf-8"', charset.strip('"').encode()), "text/html")),
    ):
        assert shown(only(data, "claude")) == [("user", "Größe?"), ("assistant", "“Größe”.")]


@pytest.mark.parametrize("charset", ["none", "hex", "utf-16", "a\0b", "unicode_escape", "*=utf-8", "punycode", "idna"])
def test_a_charset_that_is_none_of_a_page(charset: str) -> None:
    page = claude_page(claude_asked("Größe?"), claude_said("Größe.")).decode().encode("cp1252") + b"-" + b"a0" * 300_000
    started = time.process_time()
    for data in (mhtml(mhtml_part(page, f"text/html; charset={charset}")), page.replace(b"utf-8", charset.encode())):
        assert [role for role, _ in shown(only(data, "claude"))] == ["user", "assistant"]
    assert time.process_time() - started < 5, "punycode takes a minute"


def test_a_file_that_was_cut_short() -> None:
    whole = single_file(PAGE, CLAUDE_URL)
    begins = whole.index(b"<!DOCTYPE")
    for end in range(0, len(whole), 7):
        page = page_text(io.BytesIO(whole[:end]))
        assert (page is not None) == (end > begins)
    assert shown(only(whole[: whole.rindex(b"<div data-test")], "claude")) == HELLO[:1]


# --- by strangers ---


def nested(depth: int) -> bytes:
    opened = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level) for level in range(depth)
    )
    return b"MIME-Version: 1.0\r\n" + opened + mhtml_part(PAGE, "text/html")


NOT_READ = {
    "no html": mhtml(mhtml_part(STYLE, "text/css"), url=CLAUDE_URL),
    "no parts": mhtml(url=CLAUDE_URL),
    "a boundary that is not there": single_file(PAGE, CLAUDE_URL).replace(b"\r\n--" + BOUNDARY.encode(), b"\r\n--x"),
    "a boundary that goes on": single_file(PAGE, CLAUDE_URL).replace(b'boundary="', b'boundary="--'),
    "no boundary": single_file(PAGE, CLAUDE_URL).replace(b"boundary=", b"x="),
    "nested thousands deep": nested(20_000),
    "pages behind too many parts": mhtml(*[b"x"] * MAX_PARTS, mhtml_part(PAGE, "text/html"), url=CLAUDE_URL),
    "a part's header without end": mhtml(
        mhtml_part(PAGE, "text/html", more="X: y\r\n" * 1_000_000), mhtml_part(STYLE, "text/css")
    ),
    "html that is none": mhtml(mhtml_part(b"\x89PNG", "text/html"), url=CLAUDE_URL),
    "base64 that is none": single_file(PAGE).replace(b"Encoding: quoted-printable", b"Encoding: base64"),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_what_holds_no_page_is_told(name: str) -> None:
    started = time.process_time()
    with pytest.raises(UnreadableImport, match="a web page \\(MHTML\\), but none that can be read"):
        importer_for(io.BytesIO(NOT_READ[name]), "page.mhtml")
    assert time.process_time() - started < 2


@pytest.mark.parametrize("head", [b"X: y\r\n" * 1_000_000, b"X: " + b"y" * MAX_HEADER, b"From: a\r\n", b"MIME-Version"])
def test_headers_megabytes_long_or_of_something_else(head: bytes) -> None:
    data = head + single_file(PAGE, CLAUDE_URL).replace(b"MIME-Version: 1.0", b"X: y")
    assert not is_mhtml(data[:MAX_HEADER])
    with pytest.raises(UnreadableImport, match="does not hold JSON"):
        importer_for(io.BytesIO(data), "page.mhtml")


def test_parts_inside_parts_as_far_as_any_are() -> None:
    assert page_text(io.BytesIO(nested(4))) is not None


def test_a_page_that_asks_whether_a_person_is_there() -> None:
    page = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>claude.ai</body></html>"
    for data, said in (
        (single_file(page, CLAUDE_URL), "asks whether a person is there"),
        (single_file(b"<p>Hello.</p>"), "a web page (HTML), but holds no conversation"),
    ):
        with pytest.raises(UnreadableImport) as raised:
            importer_for(io.BytesIO(data), "page.mhtml")
        assert said in raised.value.detail


def test_attachments_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.importers.mhtml.MAX_READ", 1 << 20)
    path = tmp_path / "page.mhtml"
    path.write_bytes(single_file(PAGE, CLAUDE_URL))
    with path.open("r+b") as file:
        file.truncate(200_000_000)
        tracemalloc.start()
        try:
            items = list(importer_for(file, "page.mhtml").read(file))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (len(items), items[0].bytes_total) == (1, 200_000_000)
    assert peak < 4 << 20


def test_a_page_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data = single_file(PAGE, CLAUDE_URL, "binary")
    monkeypatch.setattr("workers.importers.web_page.MAX_PAGE", len(PAGE))
    assert page_text(io.BytesIO(data)) is not None
    monkeypatch.setattr("workers.importers.web_page.MAX_PAGE", len(PAGE) - 1)
    assert page_text(io.BytesIO(data)) is None
    monkeypatch.undo()
    monkeypatch.setattr("workers.importers.mhtml.MAX_READ", data.index(PAGE) + len(PAGE) - 1)
    assert page_text(io.BytesIO(data)) is None


PIECES = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r\n\r\n", b"--b", b"--b--", b"--", b"--c\r\n", b"begin 666 x\r\n#",
        b'Content-Type: multipart/mixed; boundary="b"\r\n', b"=C3", b"<p>", b" ", b"utf-7\r\n", b"=\r\n",
        b"Content-Type: multipart/related; boundary=c\r\n", b"Content-Type: text/html; charset=",
        b"Content-Type: multipart/x; boundary*=unicode_escape'x'%5Cud800\r\n", b"Content-Type: text/html\r\n",
        b"Content-Transfer-Encoding: ", b"base64\r\n", b"x-uuencode\r\n", b"quoted-printable\r\n",
        b"Snapshot-Content-Location: https://claude.ai/\xff\xfe\r\n", b"\x00", b"\xff", b"=?utf-8?b?//8=?=",
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=6), max_size=25))
def test_anything_behind_the_first_line_is_read_or_not(pieces: list[bytes]) -> None:
    data = b"MIME-Version: 1.0\r\n" + b"".join(pieces)
    saved_page(io.BytesIO(data))
    page = page_text(io.BytesIO(data))
    assert page is None or page.encode()
