"""The text of a file. PDF and SVG are read by a process of their own (`child.py`), which a bomb may fill and a person
may stop; what it read until then counts."""

from __future__ import annotations

import codecs
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

MAX_CHARS = 1_000_000  # some 500 pages; each passage of them is embedded
MAX_PAGES = 2_000
CHILD_MEMORY_BYTES = 1024**3
_LOOK_S = 0.25  # how often a person's cancel is seen
_BLOCK = 65_536
_LONGEST_LINE = 32 * MAX_CHARS  # of the child's; JSON writes some characters with six bytes
_CHILD = Path(__file__).with_name("child.py")

_CUT = f"Only the first {MAX_CHARS:,} characters are searched."
_PROBLEMS = {
    "password": "The PDF is protected by a password.",
    "unreadable": "The file is damaged and cannot be read.",
    "memory": "The file needs too much memory to be read.",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """`text`: None where there is none. `problem`: a sentence, where something is missing. `pages`: read, of a PDF."""

    text: str | None
    problem: str | None = None
    pages: int | None = None


def read_text(path: Path, encoding: str) -> Reading:
    with path.open("rb") as file:
        raw = file.read(4 * MAX_CHARS + 4)
    decoder = codecs.getincrementaldecoder(encoding)("replace")  # the last character may be cut
    text = decoder.decode(raw)
    is_cut = len(text) > MAX_CHARS or path.stat().st_size > len(raw)
    return Reading(_clean(text[:MAX_CHARS]) or None, _CUT if is_cut else None)


def read_document(
    path: Path,
    file_type: str,
    *,
    limit_s: float,
    check: Callable[[], None],
    on_page: Callable[[int, int], None] = lambda _done, _total: None,
) -> Reading:
    """Of a PDF or an SVG. `check` is called about four times a second; what it raises ends the reading."""
    command = [sys.executable, "-I", str(_CHILD), str(path), file_type]
    limits = [str(MAX_PAGES), str(MAX_CHARS), str(CHILD_MEMORY_BYTES), str(int(limit_s) + 5)]
    child = subprocess.Popen(
        [*command, *limits],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},  # nothing of ours: no keys, no addresses
    )
    told = _Told()
    try:
        for line in _lines(child, time.monotonic() + limit_s, check):
            told.hear(line, on_page)
    except TimeoutError:
        told.problem = "timeout"
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
    return told.reading()


def _lines(child: subprocess.Popen[bytes], deadline: float, check: Callable[[], None]) -> Iterator[bytes]:
    """Raises TimeoutError."""
    assert child.stdout is not None
    waiting = bytearray()
    while True:
        check()
        if time.monotonic() > deadline:
            raise TimeoutError
        if not select.select([child.stdout], [], [], _LOOK_S)[0]:
            continue
        block = os.read(child.stdout.fileno(), _BLOCK)
        if not block or len(waiting) > _LONGEST_LINE:
            return
        waiting += block
        if b"\n" in block:
            *lines, rest = bytes(waiting).split(b"\n")
            yield from lines
            waiting = bytearray(rest)


@dataclass(slots=True)
class _Told:
    """What the child said so far."""

    parts: list[str] = field(default_factory=list)
    total: int | None = None
    done: int = 0
    problem: str | None = "unreadable"  # until it says that it has come to its end

    def hear(self, line: bytes, on_page: Callable[[int, int], None]) -> None:
        said: dict[str, Any] = orjson.loads(line)
        if "total" in said:
            self.total = said["total"]
        elif "text" in said:
            self.parts.append(said["text"])
            self.done += 1
            on_page(self.done, self.total or self.done)
        else:
            self.problem = said["end"]

    def reading(self) -> Reading:
        text = _clean("\n\n".join(self.parts))[:MAX_CHARS] or None
        return Reading(text, self._sentence(text), self.done if self.total is not None else None)

    def _sentence(self, text: str | None) -> str | None:
        if self.problem in (None, "cut") and text is None:
            return "The file holds no text, only pictures of it."
        if self.problem is None:
            return None
        if self.problem == "cut" and self.done == (self.total or 1):
            return _CUT
        if self.done and self.total is not None:
            return f"Only the first {self.done} of {self.total} pages could be read."
        return _PROBLEMS.get(self.problem, "The file could not be read in the time it is given.")


def _clean(text: str) -> str:
    """What every database holds."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode().strip()
