"""What an uploaded file is, by its content; its name and what its sender calls it may only agree.

Taken are pictures, PDF and text. All text is text/plain, whatever language it is written in; SVG is told apart.
Sound is not uploaded: it comes with what was spoken.
"""

from __future__ import annotations

import codecs
import mimetypes
import re
import unicodedata
from typing import IO
from xml.parsers import expat

import filetype  # type: ignore[import-untyped]

from config.errors import WrongMedia
from config.settings import MIB

TEXT, SVG, PDF = "text/plain", "image/svg+xml", "application/pdf"
WAV = "audio/wav"
PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
TAKEN = frozenset({*PICTURES, SVG, PDF, TEXT})
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-pdf": PDF,
}
_SAYS_NOTHING = (None, "", "application/octet-stream", "binary/octet-stream")

MAX_NAME_BYTES = 200  # well below what a file system (255) and a key in a bucket (1024, with a path) hold
_HEAD_BYTES = 65_536  # an SVG's first element comes before this
# Controls that no text has; tab, line and page ends, and the escape of coloured output are text.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def recognise(file: IO[bytes], filename: str, declared: str | None) -> str:
    """One of TAKEN. Raises WrongMedia; leaves the position at the start."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    guess = filetype.guess(head)
    found = guess.mime if guess is not None and guess.mime in TAKEN else None
    if found is None and encoding_of(file) is not None:
        found = SVG if _is_svg(head) else TEXT
    file.seek(0)
    if found is None:
        kind = f"is a {guess.extension} file" if guess is not None else "is of no known kind"
        raise WrongMedia(f"The file {kind}; JPEG, PNG, GIF, WebP, SVG, PDF and text are taken.")
    for claim in (mimetypes.MimeTypes().guess_type(filename, strict=False)[0], declared):
        found = _agreed(found, claim)
    return found


def is_wav(file: IO[bytes]) -> bool:
    """Leaves the position anywhere."""
    file.seek(0)
    guess = filetype.guess(file.read(_HEAD_BYTES))
    return guess is not None and guess.extension == "wav"


def encoding_of(file: IO[bytes]) -> str | None:
    """How its text is written, when all of it is text."""
    file.seek(0)
    start = file.read(4)
    marked = next((name for bom, name in _BOMS if start.startswith(bom)), None)
    for encoding in [marked] if marked else ["utf-8", "cp1252"]:
        if _reads_as(file, encoding):
            return encoding
    return None


def _reads_as(file: IO[bytes], encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    file.seek(0)
    try:
        while block := file.read(MIB):
            if _CONTROLS.search(decoder.decode(block)):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


class _FirstElement(Exception):
    pass


def _is_svg(head: bytes) -> bool:
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return False

    def start(name: str, _attributes: object) -> None:
        raise _FirstElement(name)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    try:
        parser.Parse(head, False)
    except _FirstElement as first:
        return str(first).rpartition(":")[2] == "svg"
    except expat.ExpatError:
        pass
    return False


def _agreed(found: str, claim: str | None) -> str:
    """`found`, or text where an SVG is called so. Raises WrongMedia."""
    claim = (claim or "").partition(";")[0].strip().lower()
    claim = _ALIASES.get(claim, claim)
    if claim in _SAYS_NOTHING or claim == found:
        return found
    if found == SVG and claim == TEXT:
        return TEXT
    if found in (TEXT, SVG) and claim not in TAKEN:  # a language that we know nothing of
        return found
    raise WrongMedia(f"The file is called {claim[:60]}, but what it holds is {found}.")


def safe_name(given: str) -> str:
    """The last part of what a sender calls the file, to be shown and to be saved under: no folders, no controls,
    nothing that turns the direction of reading, at most MAX_NAME_BYTES."""
    bare = unicodedata.normalize("NFC", given.encode("utf-8", "ignore").decode()).replace("\\", "/").rpartition("/")[2]
    name = " ".join("".join(letter if letter.isprintable() else " " for letter in bare).split()).strip(". ")
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > 20:
        stem, suffix = name, ""
    end = f".{suffix}" if suffix else ""
    cut = stem.encode()[: MAX_NAME_BYTES - len(end.encode())].decode(errors="ignore").strip()
    return f"{cut}{end}" if cut else f"file{end}"
