"""HTML a stranger wrote, as Markdown: what is read stays, what runs, loads or is styled goes.

The standard library's parser takes quadratic time over tags that never end; this one passes over the text once. It
knows what answers are made of, and takes a bracket inside an attribute for the tag's end.
"""

from __future__ import annotations

import html
import re

from workers.importers.values import fenced, link, one_line

# Their text needs nothing but empty lines around it.
_BLOCKS = frozenset(
    [
        *("address", "article", "aside", "body", "dd", "dl", "dt", "details", "div", "figcaption", "figure", "footer"),
        *("form", "header", "html", "main", "nav", "ol", "p", "section", "summary", "table", "tbody", "tfoot", "thead"),
        "ul",
    ]
)
_UNSEEN = frozenset(
    ("script", "style", "head", "template", "noscript", "iframe", "object", "svg", "title", "textarea", "select")
)
VOID = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"))
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "del": "~~", "s": "~~"}
_END_MAY_MISS = {"p": ("p",), "li": ("li",), "tr": ("td", "th", "tr"), "td": ("td", "th"), "th": ("td", "th")}
_COUNTED = frozenset([*_UNSEEN, "pre", "code"])
# As they usually stand there: told by a look into a table.
_BARE = frozenset(
    [*_BLOCKS, *_MARKS, "li", "h1", "h2", "h3", "h4", "blockquote", "tr", "td", "th", "pre", "code", "span", "br", "hr"]
)
_BARE_ENDS = {f"/{tag}": tag for tag in [*_BARE, "a"]}
_TOKEN = re.compile(r"<([^<>]*)>")
# Marks around plain words, which are most of them: put there before anything is read.
_MARKED = re.compile(r"<(strong|b|em|i|del|s)>([^<>&\s](?:[^<>&\r\n]*[^<>&\s])?)</\1>")
_BLANKS = re.compile(r"[\t\r\n\f][ \t\r\n\f]*| [ \t\r\n\f]+")  # a single blank is as it should be
_TAG = re.compile(r"(/?)([a-zA-Z][a-zA-Z0-9-]{0,30})")
_ATTRIBUTE = re.compile(r"""([\w-]{1,40})\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)""")
_LANGUAGE = re.compile(r"language-([\w+#-]{1,30})")
_TAG_BEGINS = re.compile(r"<(?=[a-zA-Z/!?])")
_GAPS = re.compile(r"(?<=\S) {2,}")
_FENCE = re.compile(r"\s*(`{3,})[\w+#-]*$")
MAX_DEPTH = 100  # open elements; what is nested deeper is read as text of the deepest
MAX_TAG = 4000  # characters of a tag in which attributes are looked for


def markdown(source: str) -> str:
    if "<!--" in source:
        source = without_comments(source)
    if "</" in source:
        source = _MARKED.sub(_mark, source)
    return _Reader().read(source)


def without_comments(source: str) -> str:
    """What a comment that is never closed would hide is gone too."""
    pieces: list[str] = []
    at = 0
    while (start := source.find("<!--", at)) >= 0:
        pieces.append(source[at:start])
        end = source.find("-->", start + 2)
        at = end + 3 if end >= 0 else len(source)
    return "".join([*pieces, source[at:]])


def _mark(found: re.Match[str]) -> str:
    mark = _MARKS[found[1]]
    return f"{mark}{found[2]}{mark}"


def attributes(source: str) -> dict[str, str]:
    """Of a tag."""
    return {key.lower(): html.unescape(value.strip("\"'")) for key, value in _ATTRIBUTE.findall(source)}


class _Open:
    """An element that is not closed yet, and where its text goes: a block's to what it stands in."""

    __slots__ = ("classes", "count", "pieces", "source", "tag")

    def __init__(self, tag: str, source: str, pieces: list[str]) -> None:
        self.tag, self.source, self.pieces = tag, source, pieces
        self.count = 0  # items of a list so far
        self.classes = ""  # of the code inside <pre>

    def attribute(self, name: str) -> str:
        return attributes(self.source).get(name, "") if self.source else ""


class _Reader:
    def __init__(self) -> None:
        self._pieces: list[str] = []  # of the innermost element
        self._open = [_Open("", "", self._pieces)]
        self._unseen = 0  # how many elements are open whose text nobody sees
        self._literal = 0  # likewise <pre> and <code>, in which nothing is Markdown
        self._preformatted = 0

    def read(self, source: str) -> str:
        first, *tokens = _TOKEN.split(source)
        self._data(first)
        for tag, text in zip(tokens[::2], tokens[1::2], strict=True):
            if tag in _BARE:
                self._begin(tag, "")
            elif tag in _BARE_ENDS:
                self._end(_BARE_ENDS[tag])
            elif found := _TAG.match(tag):
                name = found[2].lower()
                self._end(name) if found[1] else self._begin(name, tag[:MAX_TAG])
            elif tag[:1] not in ("!", "?"):
                self._data(f"<{tag}>")
            if text:
                self._data(text)
        while len(self._open) > 1:
            self._finish()
        return _tidy("".join(self._pieces))

    def _begin(self, tag: str, source: str) -> None:
        if tag in VOID:
            self._void(tag, source)
            return
        if may_miss := _END_MAY_MISS.get(tag):
            while self._open[-1].tag in may_miss:
                self._finish()
        if len(self._open) < MAX_DEPTH:
            if tag in _BLOCKS:
                self._pieces.append("\n\n")
            else:
                self._pieces = []
            self._open.append(_Open(tag, source, self._pieces))
            if tag in _COUNTED:
                self._count(tag, 1)

    def _end(self, tag: str) -> None:
        if self._open[-1].tag == tag:
            self._finish()
        elif any(element.tag == tag for element in self._open[1:]):
            while self._open[-1].tag != tag:
                self._finish()
            self._finish()

    def _data(self, text: str) -> None:
        if self._unseen:
            return
        if "&" in text:
            text = html.unescape(text)
        if not self._preformatted and ("\n" in text or "  " in text or "\t" in text or "\r" in text or "\f" in text):
            text = _BLANKS.sub(" ", text)
        if not self._literal and "<" in text:
            text = _TAG_BEGINS.sub("&lt;", text)  # or the Markdown would hold what the HTML only showed
        self._pieces.append(text)

    def _count(self, tag: str, by: int) -> None:
        self._unseen += by * (tag in _UNSEEN)
        self._literal += by * (tag in ("pre", "code"))
        self._preformatted += by * (tag == "pre")

    def _void(self, tag: str, source: str) -> None:
        if self._unseen:
            return
        if tag == "br":
            self._pieces.append("\n")
        elif tag == "hr":
            self._pieces.append("\n\n---\n\n")
        elif tag == "img":  # never an address: whoever shows the text would fetch it
            known = attributes(source)
            label = one_line(known.get("alt") or known.get("title") or "")
            self._pieces.append(f"[image: {label}]" if label else "[image]")

    def _finish(self) -> None:
        element = self._open.pop()
        tag = element.tag
        if tag in _BLOCKS:
            self._pieces.append("\n\n")
            return
        self._pieces = self._open[-1].pieces
        unseen = self._unseen
        if tag in _COUNTED:
            self._count(tag, -1)
        if unseen:
            return
        inside = "".join(element.pieces)
        if tag == "li":
            self._pieces.append(self._item(inside))
        elif tag in _MARKS:
            self._pieces.append(_marked(inside, _MARKS[tag]))
        else:
            self._pieces.append(self._rendered(element, inside))

    def _rendered(self, element: _Open, inside: str) -> str:
        tag = element.tag
        if tag == "code":
            if self._preformatted and (classes := element.classes or element.attribute("class")):
                next(found for found in reversed(self._open) if found.tag == "pre").classes = classes
            return inside if self._preformatted or not inside.strip() else _code(inside)
        if tag == "a":
            return link(inside, element.attribute("href")) if inside.strip() else ""
        if tag == "pre":
            language = _LANGUAGE.search(element.classes or element.attribute("class"))
            return f"\n\n{fenced(inside.strip(chr(10)), language.group(1) if language else '')}\n\n"
        if tag in ("td", "th"):
            return f" {one_line(inside).replace('|', chr(92) + '|')} |"
        if tag == "tr":
            return self._row(inside)
        if tag == "blockquote":
            return _quoted(inside)
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            return f"\n\n{'#' * int(tag[1])} {one_line(inside)}\n\n" if inside.strip() else ""
        return inside

    def _item(self, inside: str) -> str:
        parent = self._open[-1]
        parent.count += 1
        marker = f"{parent.count}. " if parent.tag == "ol" else "- "
        first, *rest = _tidy(inside).split("\n")
        indent = " " * len(marker)
        return "\n" + "\n".join([marker + first, *(f"{indent}{line}" if line else "" for line in rest)]) + "\n"

    def _row(self, inside: str) -> str:
        table = next((found for found in reversed(self._open) if found.tag == "table"), None)
        row = f"\n|{one_line(inside)}" if "|" not in inside else f"\n| {one_line(inside)}"
        if table is None:
            return row
        table.count += 1
        columns = max(len(re.findall(r"(?<!\\)\|", inside)), 1)
        return row + ("\n|" + " --- |" * columns if table.count == 1 else "")


def _quoted(inside: str) -> str:
    return "\n\n" + "\n".join(f"> {line}".rstrip() for line in _tidy(inside).splitlines()) + "\n\n"


def _marked(inside: str, mark: str) -> str:
    """Marks stand against the words: blanks go outside."""
    words = inside.strip()
    if not words or "\n\n" in words:
        return inside
    before, after = inside[: len(inside) - len(inside.lstrip())], inside[len(inside.rstrip()) :]
    return f"{before}{mark}{words}{mark}{after}"


def _code(inside: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", inside)), default=0)
    fence = "`" * (longest + 1)
    gap = " " if longest else ""
    return f"{fence}{gap}{inside.strip()}{gap}{fence}"


def _tidy(text: str) -> str:
    """No blanks around lines save for indents, no more than one empty line, code as it is."""
    kept: list[str] = []
    fence = ""
    empty = True  # the line before
    for line in text.split("\n"):
        if fence:
            fence = "" if line.strip() == fence else fence
            kept.append(line)
            empty = False
            continue
        if "```" in line and (opening := _FENCE.match(line)):
            fence = opening.group(1)
        # A single blank was left by markup; indents are longer.
        clean = line.rstrip() if line.startswith("  ") else line.strip()
        if "  " in clean:
            clean = _GAPS.sub(" ", clean)
        if clean or not empty:
            kept.append(clean)
        empty = not clean
    return "\n".join(kept).strip("\n")
