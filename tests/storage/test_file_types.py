"""What a file is, by its content; what it is called may only agree."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import WrongMedia
from storage.file_types import MAX_NAME_BYTES, PDF, SVG, TAKEN, TEXT, recognise, safe_name
from tests import documents


def told(content: bytes, name: str = "", declared: str | None = None) -> str:
    return recognise(io.BytesIO(content), name, declared)


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.txt", "text")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "found"),
    [
        (documents.png(), "a.png", "image/png"),
        (documents.JPEG, "a.jpeg", "image/jpeg"),
        (documents.JPEG, "a.JPG", "image/jpeg"),
        (documents.GIF, "a.gif", "image/gif"),
        (documents.WEBP, "a.webp", "image/webp"),
        (documents.SVG, "a.svg", SVG),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a --><s:svg xmlns:s="http://www.w3.org/2000/svg"/>', "a.svg", SVG),
        (documents.pdf("x"), "a.pdf", PDF),
        (documents.png(), "without a suffix", "image/png"),
        (b"# Notes", "notes.md", TEXT),
        (b'{"a": 1}', "a.json", TEXT),
        (b"a,b\n1,2\n", "a.csv", TEXT),
        (b"let a: number = 1", "a.ts", TEXT),  # which lists of types take for a film
        (b"<html><body>Hello</body></html>", "page.html", TEXT),
        (b"BMW is a maker of cars", "a.txt", TEXT),  # as bitmaps begin
        ("Grüße".encode("cp1252"), "a.txt", TEXT),
        ("Grüße".encode("utf-16"), "a.txt", TEXT),
        (b"\x1b[1mcoloured\x1b[0m\n\tand tabbed\r\n", "log", TEXT),
        (b"<svg>, a format", "essay.txt", TEXT),
    ],
)
def test_what_is_taken(content: bytes, name: str, found: str) -> None:
    assert told(content, name) == found


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (archive(), "a.png"),
        (archive(), "a.zip"),
        (b"\x7fELF" + bytes(100), "a.txt"),
        (b"MZ" + bytes(100), "setup"),
        (bytes(1000), "zeros.txt"),
        (b"text\0and a zero", "a.txt"),
        (b"#!/bin/sh\n\x01\x02\x03", "a.sh"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(100), "a.mp4"),
        (b" %PDF-1.4 behind a blank\x00", "a.pdf"),
    ],
)
def test_what_is_not_taken(content: bytes, name: str) -> None:
    with pytest.raises(WrongMedia, match="taken"):
        told(content, name)


@pytest.mark.parametrize(
    ("content", "name", "declared"),
    [
        (documents.png(), "a.jpg", None),
        (documents.png(), "a.txt", None),
        (documents.png(), "a.zip", None),
        (documents.png(), "a.png", "image/jpeg"),
        (documents.png(), "", "text/html"),
        (documents.pdf("x"), "a.png", None),
        (b"text", "a.png", None),
        (b"text", "a.pdf", None),
        (b"<html/>", "a.svg", None),
        (documents.SVG, "a.png", None),
        (documents.GIF.replace(b",", b"*/=1;alert(1)//"), "a.js", None),  # a picture that is a script as well
        (documents.pdf("x") + archive(), "a.zip", None),
    ],
)
def test_a_name_that_says_otherwise_is_refused(content: bytes, name: str, declared: str | None) -> None:
    with pytest.raises(WrongMedia, match="is called"):
        told(content, name, declared)


@pytest.mark.parametrize("declared", [None, "", "application/octet-stream", "image/png", "Image/X-PNG; q=1"])
def test_a_declaration_may_agree_or_say_nothing(declared: str | None) -> None:
    assert told(documents.png(), "a.png", declared) == "image/png"


def test_a_drawing_that_is_called_text_is_text() -> None:
    assert told(documents.SVG, "a.txt") == TEXT


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=20), st.none() | st.text(max_size=20))
def test_anything_is_known_or_refused(content: bytes, name: str, declared: str | None) -> None:
    file = io.BytesIO(content)
    with suppress(WrongMedia):
        assert recognise(file, name, declared) in TAKEN
        assert file.tell() == 0


# --- names


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.pdf", "a.pdf"),
        ("a\r\nSet-Cookie: x=1.pdf", "a Set-Cookie: x=1.pdf"),
        ("invoice\u202efdp.exe", "invoice fdp.exe"),
        ("  .hidden ", "hidden"),
        ("..", "file"),
        ("", "file"),
        ("\0\0.png", "png"),
        ("a\ud800b.txt", "ab.txt"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("x" * 500 + ".pdf", "x" * 196 + ".pdf"),
        ("世" * 500 + ".md", "世" * 65 + ".md"),
        ("gespräche \U0001f600.json", "gespräche \U0001f600.json"),
    ],
)
def test_names_are_made_safe(given: str, kept: str) -> None:
    assert safe_name(given) == kept


@given(st.text(st.characters(exclude_categories=()), max_size=600))
def test_any_name_is_a_name(given: str) -> None:
    name = safe_name(given)
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert not {"/", "\\", "\0", "\n"} & set(name)
    assert name not in (".", "..")
    assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in name)
    assert safe_name(name) == name
