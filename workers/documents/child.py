"""Reads one PDF or SVG in a process without our settings, and without more memory and time than it was given.

    python -I child.py PATH TYPE PAGES CHARACTERS BYTES SECONDS

Standard output: {"total": pages}, then {"text": …} for each page, then {"end": null | problem}; one JSON object a line.
"""

from __future__ import annotations

import json
import resource
import sys
from contextlib import suppress
from typing import Any
from xml.parsers import expat

_UNSHOWN = ("script", "style", "metadata")


def tell(**said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def read_pdf(path: str, pages: int, characters: int) -> str | None:
    """Returns what is missing."""
    from pypdf import PdfReader

    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):  # most are closed to writers only
        return "password"
    total = len(reader.pages)
    tell(total=total)
    broken = 0
    for number in range(min(total, pages)):
        try:
            text = reader.pages[number].extract_text()
        except MemoryError:
            raise
        except Exception:
            text, broken = "", broken + 1
        tell(text=text[:characters])
        characters -= len(text)
        if characters <= 0:
            return "cut"
    return "unreadable" if broken == total else "cut" if total > pages else None


def read_svg(path: str, characters: int) -> str | None:
    found: list[str] = []
    inside: list[str] = []

    def start(name: str, _attributes: object) -> None:
        inside.append(name.rpartition(":")[2])

    def end(_name: str) -> None:
        inside.pop()
        found.append(" ")

    def say(text: str) -> None:
        if not any(name in _UNSHOWN for name in inside):
            found.append(text)

    def refuse(*_: object) -> None:
        raise ValueError("entities of its own are how a small file becomes a large one")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = say, refuse
    with open(path, "rb") as file:  # noqa: PTH123 - no more is imported here than it takes
        parser.ParseFile(file)
    tell(text=" ".join("".join(found).split())[:characters])
    return None


def main() -> None:
    path, file_type, *numbers = sys.argv[1:]
    pages, characters, memory, seconds = map(int, numbers)
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, 0)):
        with suppress(ValueError, OSError):  # macOS has no limit of memory
            resource.setrlimit(limit, (value, value))
    try:
        is_pdf = file_type == "application/pdf"
        problem = read_pdf(path, pages, characters) if is_pdf else read_svg(path, characters)
    except MemoryError:
        problem = "memory"
    except Exception:
        problem = "unreadable"
    tell(end=problem)


if __name__ == "__main__":
    main()
