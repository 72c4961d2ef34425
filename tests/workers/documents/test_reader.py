"""The text of files: bounded in time, memory and length, whatever they hold."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import documents
from workers.documents import reader
from workers.documents.reader import Reading, read_document, read_text

PDF, SVG = "application/pdf", "image/svg+xml"
Read = Callable[..., Reading]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def begin(
        content: bytes, file_type: str = PDF, limit_s: float = 30, check: Callable[[], None] = lambda: None
    ) -> Reading:
        path = tmp_path / "file"
        path.write_bytes(content)
        return read_document(path, file_type, limit_s=limit_s, check=check)

    return begin


def test_the_text_of_every_page(read: Read) -> None:
    found = read(documents.pdf("Tomatoes need sun", "and water"))
    assert (found.text, found.problem, found.pages) == ("Tomatoes need sun\n\nand water", None, 2)


def test_pages_are_told_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(documents.pdf("one", "two", "three"))
    told: list[tuple[int, int]] = []
    read_document(path, PDF, limit_s=30, check=lambda: None, on_page=lambda *page: told.append(page))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_pdf_of_pictures_says_so(read: Read) -> None:
    found = read(documents.pdf("", ""))
    assert (found.text, found.pages) == (None, 2)
    assert found.problem is not None
    assert "no text" in found.problem


def test_a_password_is_not_guessed(read: Read) -> None:
    assert read(documents.locked_pdf("swordfish")) == Reading(None, "The PDF is protected by a password.")


def test_a_pdf_that_is_closed_to_writers_only_is_read(read: Read) -> None:
    assert read(documents.locked_pdf("", "read me")).text == "read me"


@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.4\n",
        b"%PDF-1.4\n" + b"\0" * 1000,
        b"%PDF-" + bytes(range(256)) * 50,
        documents.pdf("cut short")[:200],
        documents.pdf("x").replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]"),
    ],
    ids=["empty", "zeros", "noise", "cut", "a tree that is its own branch"],
)
def test_a_broken_pdf_is_told(read: Read, content: bytes) -> None:
    found = read(content)
    assert found.text is None
    assert found.problem is not None
    assert found.problem.endswith(".")


def test_a_stream_that_grows_without_end_is_bounded(read: Read) -> None:
    bomb = zlib.compress(b"BT /F1 12 Tf (x) Tj ET\n" * 15_000_000, 9)  # a third of a GiB out of a MiB
    found = read(documents.pdf("", stream=bomb), limit_s=5)
    assert found.problem is not None
    assert len(found.text or "") <= reader.MAX_CHARS


def test_more_pages_than_are_read(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_PAGES", 3)
    found = read(documents.pdf(*"abcde"))
    assert (found.text, found.problem) == ("a\n\nb\n\nc", "Only the first 3 of 5 pages could be read.")


def test_more_text_than_is_kept(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_CHARS", 12)
    found = read(documents.pdf("twelve chars", "more"))
    assert (found.text, found.problem) == ("twelve chars", "Only the first 1 of 2 pages could be read.")


def test_what_takes_too_long_is_kept_as_far_as_it_came(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child = tmp_path / "child.py"
    told = 'print(\'{"total": 2}\\n{"text": "one"}\', flush=True)'
    child.write_text(f"import threading\n{told}\nthreading.Event().wait()")
    monkeypatch.setattr(reader, "_CHILD", child)
    assert read(b"", limit_s=0.6) == Reading("one", "Only the first 1 of 2 pages could be read.", 1)


def test_a_cancel_ends_the_reading(read: Read) -> None:
    class Cancelled(Exception):
        pass

    def cancelled() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        read(documents.pdf("x"), check=cancelled)


def test_the_child_has_none_of_our_secrets(read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text('import os, json; print(json.dumps({"text": " ".join(os.environ)})); print(\'{"end": null}\')')
    monkeypatch.setattr(reader, "_CHILD", child)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert "OPENAI" not in (read(b"").text or "")


# --- drawings


def test_what_a_drawing_says(read: Read) -> None:
    assert read(documents.SVG, SVG) == Reading("A drawing of a heron")


def test_entities_that_multiply_are_refused(read: Read) -> None:
    bomb = b'<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><svg><text>&b;</text></svg>'
    assert read(bomb, SVG) == Reading(None, "The file is damaged and cannot be read.")


def test_a_file_elsewhere_is_not_drawn_in(read: Read, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("swordfish")
    drawing = f'<!DOCTYPE svg [<!ENTITY a SYSTEM "file://{tmp_path}/secret">]><svg><text>&a;</text></svg>'
    assert "swordfish" not in (read(drawing.encode(), SVG).text or "")


# --- texts


@pytest.mark.parametrize(
    ("content", "encoding", "text"),
    [
        ("Grüße, 世界".encode(), "utf-8", "Grüße, 世界"),
        ("\ufeffmarked".encode(), "utf-8-sig", "marked"),
        ("Grüße".encode("utf-16"), "utf-16", "Grüße"),
        ("Grüße".encode("cp1252"), "cp1252", "Grüße"),
        (b"  \n ", "utf-8", None),
    ],
)
def test_texts_in_their_encoding(tmp_path: Path, content: bytes, encoding: str, text: str | None) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_text(tmp_path / "file", encoding) == Reading(text)


def test_a_long_text_is_kept_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("ü" * (reader.MAX_CHARS + 1))
    found = read_text(tmp_path / "file", "utf-8")
    assert (len(found.text or ""), found.problem) == (1_000_000, "Only the first 1,000,000 characters are searched.")
