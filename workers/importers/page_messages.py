"""The messages on a rendered page: each stands in an element that its class or its test id tells.

One pass over the tags, whatever they are: elements that are nested without end, never closed, or closed twice cost
what others cost. What a message holds is written again with the tags and attributes that its reading needs.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from workers.importers.html_markdown import VOID, attributes, markdown, without_comments
from workers.importers.values import one_line

# A message; the name of a file that goes with one; and what of a message is told apart: where its prose stands (then
# the rest of it is no part of what was said), a card in place of a document, the label above a block of code, and what
# nobody reads.
Kind = Literal["user", "assistant", "file", "prose", "card", "language", "math", "tex", "unseen"]
Attributes = dict[str, str]
# What an element is, from its attributes and those of the elements around it, the innermost last.
Tell = Callable[[Attributes, Sequence[Attributes]], Kind | None]

# Bounded: a quote that is never closed would otherwise be looked through from every tag before it.
_TAG = re.compile(
    r"<(/?)([a-zA-Z][\w:-]{0,40})((?:[^<>\"']{1,2000}+|\"[^\"]{0,20000}+\"|'[^']{0,20000}+'){0,60}+)>", re.ASCII
)
_RAW = {tag: re.compile(f"</{tag}", re.IGNORECASE) for tag in ("script", "style", "textarea", "title", "template")}
_KEPT = {"a": ("href",), "img": ("alt",), "code": ("class",), "pre": ("class",)}
_UNSEEN = frozenset(("button", "svg", "input", "select", "form", "nav", "iframe", "noscript", *_RAW))
_LABEL = re.compile(r"[\w+#.-]{1,30}")
# The name of a language, in a paragraph of its own above the code that tells it anyway.
_TWICE = re.compile(r"(?:^|(?<=\n\n))([\w+#-]{1,30})\n\n(?=```+(?i:\1)\n)")
NEAR = 30  # elements around one in which something about it is looked for


@dataclass(frozen=True, slots=True)
class Shown:
    """`id` is that of the nearest element around it that has one."""

    kind: Kind
    text: str
    id: str | None = None


@dataclass(slots=True)
class _Capture:
    kind: Kind
    depth: int
    id: str | None
    whole: list[str] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)
    card: list[str] = field(default_factory=list)
    has_prose: bool = False
    parts: list[tuple[Kind, int]] = field(default_factory=list)  # what is open of what is told apart, and its depth

    def is_in(self, *kinds: Kind) -> bool:
        return any(kind in kinds for kind, _ in self.parts)

    def write(self, text: str) -> None:
        if self.is_in("unseen") or (self.is_in("math") and not self.is_in("tex")):
            return
        if self.is_in("card"):
            self.card.append(text)
            return
        self.whole.append(text)
        if self.is_in("prose"):
            self.prose.append(text)

    def leave(self) -> None:
        """What is told apart ends."""
        kind, _ = self.parts.pop()
        if kind == "card":
            line = f"<p>[artifact: {one_line(re.sub('<[^<>]*>', ' ', ''.join(self.card)))}]</p>"
            self.whole.append(line)
            self.prose.append(line)
            self.card.clear()

    def shown(self) -> Shown:
        text = markdown("".join(self.prose if self.has_prose else self.whole))
        return Shown(self.kind, _TWICE.sub("", text) if self.kind != "file" else text.lstrip("# "), self.id)


def messages(page: str, tell: Tell) -> Iterator[Shown]:
    """In the page's order; also one that the page's end cuts off."""
    walk = _Walk(tell)
    page = without_comments(page)
    at = 0
    while tag := _TAG.search(page, at):
        walk.text(page[at : tag.start()])
        at = tag.end()
        name = tag.group(2).lower()
        if tag.group(1):
            yield from walk.end(name)
            continue
        walk.begin(name, tag.group(3))
        if raw := _RAW.get(name):
            closing = raw.search(page, at)
            at = closing.start() if closing else len(page)
    walk.text(page[at:])
    yield from walk.close()


class _Walk:
    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._open: list[str] = []
        self._counts: dict[str, int] = {}
        self._around: list[Attributes] = []  # of open elements that have any of use
        self._depths: list[int] = []  # how deep these stand
        self._capture: _Capture | None = None
        self._language = ""  # of the code that comes next
        self._wrapped: set[int] = set()  # depths of code that was put into <pre>
        self._lines: int | None = None  # depth of the element in which a line's end is one

    def text(self, source: str) -> None:
        capture = self._capture
        if capture is None or not source:
            return
        if capture.is_in("language"):
            label = source.strip()
            self._language = label.lower() if _LABEL.fullmatch(label) else self._language
            return
        text = source.replace("<", "&lt;").replace(">", "&gt;")
        if self._lines is not None and not self._counts.get("pre"):
            text = text.replace("\r\n", "\n").replace("\n", "<br>")
        capture.write(f"${text.strip()}$" if capture.is_in("tex") else text)

    def begin(self, name: str, source: str) -> None:
        known = attributes(source) if "=" in source else {}
        kind = self._kind(name, known)
        depth = len(self._open)
        is_void = name in VOID or source.endswith("/")
        if not is_void:
            self._open.append(name)
            self._counts[name] = self._counts.get(name, 0) + 1
            if "id" in known or "class" in known:
                self._around.append(known)
                self._depths.append(depth)
        if self._capture is None:
            self._begin_capture(kind, depth, is_void)
        elif is_void:
            self._capture.write(_rebuilt(name, known))
        elif kind in (None, "user", "assistant", "file") or self._capture.is_in(kind, "unseen"):
            self._write(name, known, depth)
        else:
            self._capture.parts.append((kind, depth))
            self._capture.has_prose |= kind == "prose"
        if self._capture and self._lines is None and not is_void and "whitespace-pre-wrap" in known.get("class", ""):
            self._lines = depth

    def _begin_capture(self, kind: Kind | None, depth: int, is_void: bool) -> None:
        if is_void or kind not in ("user", "assistant", "file", "prose"):
            return
        near = (id for known in reversed(self._around[-NEAR:]) if (id := known.get("data-message-id", known.get("id"))))
        self._capture = _Capture("assistant" if kind == "prose" else kind, depth, next(near, None))

    def _kind(self, name: str, known: Attributes) -> Kind | None:
        if name == "math":
            return "math"
        if name == "annotation":
            return "tex" if known.get("encoding") == "application/x-tex" else None
        if name in _UNSEEN or known.get("aria-hidden") == "true" or "sr-only" in known.get("class", "").split():
            return "unseen"
        return self._tell(known, self._around) if known else None

    def _write(self, name: str, known: Attributes, depth: int) -> None:
        assert self._capture is not None
        if name == "code" and "pre" in known.get("style", "") and not self._counts.get("pre"):
            self._capture.write("<pre>")
            self._wrapped.add(depth)
        if name == "code" and self._language:
            known, self._language = {"class": f"language-{self._language}"}, ""
        self._capture.write(_rebuilt(name, known))

    def end(self, name: str) -> Iterator[Shown]:
        if not self._counts.get(name):
            return
        last = ""
        while last != name:
            last = self._open.pop()
            self._counts[last] -= 1
            yield from self._left(last, len(self._open))

    def _left(self, name: str, depth: int) -> Iterator[Shown]:
        while self._depths and self._depths[-1] >= depth:
            self._depths.pop()
            self._around.pop()
        if self._lines is not None and depth <= self._lines:
            self._lines = None
        capture = self._capture
        if capture is None:
            return
        if depth <= capture.depth:
            yield from self.close()
        elif capture.parts and capture.parts[-1][1] >= depth:
            capture.leave()
        else:
            capture.write(f"</{name}>")
            if depth in self._wrapped:
                self._wrapped.discard(depth)
                capture.write("</pre>")

    def close(self) -> Iterator[Shown]:
        if self._capture:
            yield self._capture.shown()
        self._capture, self._language, self._lines = None, "", None
        self._wrapped.clear()


def _rebuilt(name: str, known: Attributes) -> str:
    kept = (f' {key}="{html.escape(known[key])}"' for key in _KEPT.get(name, ()) if key in known)
    return f"<{name}{''.join(kept)}>"
