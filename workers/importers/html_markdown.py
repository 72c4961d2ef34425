"""HTML a stranger wrote, as Markdown: what is read stays, what runs, loads or is styled goes.

The standard library's parser takes quadratic time over tags that never end; this one passes over the text once. It
knows what answers are made of, and takes a bracket inside an attribute for the tag's end.
"""

from __future__ import annotations

import html
import re

from workers.importers.values import fenced, link, one_line

_BLOCKS = re.compile(
    "address|article|aside|blockquote|body|d[dlt]|details|div|figcaption|figure|footer|form|h[1-6]|header|hr|html|li|main"
    "|nav|ol|p|pre|section|summary|table|tbody|td|tfoot|th|thead|tr|ul"
)
_UNSEEN = ("script", "style", "head", "template", "noscript", "iframe", "object", "svg", "title", "textarea", "select")
_VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "del": "~~", "s": "~~"}
_END_MAY_MISS = {"p": ("p",), "li": ("li",), "tr": ("td", "th", "tr"), "td": ("td", "th"), "th": ("td", "th")}
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
    reader = _Reader()
    comment = False
    for number, piece in enumerate(source.split("<")):
        if comment or piece.startswith("!--"):
            _, closed, text = piece.partition("-->")
            comment = not closed
            reader.data(text)
            continue
        tag, closed, text = piece.partition(">")
        if number == 0:
            reader.data(piece)
        elif closed and (found := _TAG.match(tag)):
            reader.tag(found.group(2).lower(), bool(found.group(1)), tag[:MAX_TAG])
            reader.data(text)
        elif closed and tag.startswith(("!", "?")):
            reader.data(text)
        else:
            reader.data("<" + piece)
    return reader.text()


class _Open:
    """An element that is not closed yet, and the finished text inside it."""

    __slots__ = ("attributes", "count", "pieces", "tag")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes = tag, attributes
        self.pieces: list[str] = []
        self.count = 0  # items of a list so far


class _Reader:
    def __init__(self) -> None:
        self._open = [_Open("", {})]
        self._unseen = 0  # how many elements are open whose text nobody sees
        self._literal = 0  # likewise <pre> and <code>, in which nothing is Markdown
        self._preformatted = 0

    def text(self) -> str:
        while len(self._open) > 1:
            self._finish()
        return _tidy("".join(self._open[0].pieces))

    def tag(self, name: str, closing: bool, source: str) -> None:
        if closing:
            if any(element.tag == name for element in self._open[1:]):
                while self._open[-1].tag != name:
                    self._finish()
                self._finish()
            return
        attributes = {key.lower(): html.unescape(value.strip("\"'")) for key, value in _ATTRIBUTE.findall(source)}
        if name in _VOID:
            self._void(name, attributes)
            return
        while self._open[-1].tag in _END_MAY_MISS.get(name, ()):
            self._finish()
        if len(self._open) < MAX_DEPTH:
            self._open.append(_Open(name, attributes))
            self._count(name, 1)

    def data(self, source: str) -> None:
        if not source or self._unseen:
            return
        text = html.unescape(source)
        if not self._preformatted:
            text = _BLANKS.sub(" ", text)
        if not self._literal and "<" in text:
            text = _TAG_BEGINS.sub("&lt;", text)  # or the Markdown would hold what the HTML only showed
        self._write(text)

    def _count(self, tag: str, by: int) -> None:
        self._unseen += by * (tag in _UNSEEN)
        self._literal += by * (tag in ("pre", "code"))
        self._preformatted += by * (tag == "pre")

    def _write(self, text: str) -> None:
        self._open[-1].pieces.append(text)

    def _void(self, tag: str, attributes: dict[str, str]) -> None:
        if self._unseen:
            return
        if tag == "br":
            self._write("\n")
        elif tag == "hr":
            self._write("\n\n---\n\n")
        elif tag == "img":  # never an address: whoever shows the text would fetch it
            label = one_line(attributes.get("alt") or attributes.get("title") or "")
            self._write(f"[image: {label}]" if label else "[image]")

    def _finish(self) -> None:
        element = self._open.pop()
        unseen = self._unseen > 0
        self._count(element.tag, -1)
        if not unseen:
            self._write(self._rendered(element, "".join(element.pieces)))

    def _rendered(self, element: _Open, inside: str) -> str:
        tag = element.tag
        if tag in _MARKS:
            return _marked(inside, _MARKS[tag])
        if tag == "code":
            if self._preformatted and "class" in element.attributes:
                self._open[-1].attributes["class"] = element.attributes["class"]
            return inside if self._preformatted or not inside.strip() else _code(inside)
        if tag == "a":
            return link(inside, element.attributes.get("href", "")) if inside.strip() else ""
        if tag == "pre":
            language = _LANGUAGE.search(element.attributes.get("class", ""))
            return f"\n\n{fenced(inside.strip(chr(10)), language.group(1) if language else '')}\n\n"
        if tag == "li":
            return self._item(inside)
        if tag in ("td", "th"):
            return f" {one_line(inside).replace('|', chr(92) + '|')} |"
        if tag == "tr":
            return self._row(element, inside)
        if tag == "blockquote":
            return "\n\n" + "\n".join(f"> {line}".rstrip() for line in _tidy(inside).splitlines()) + "\n\n"
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            return f"\n\n{'#' * int(tag[1])} {one_line(inside)}\n\n" if inside.strip() else ""
        return f"\n\n{inside}\n\n" if _BLOCKS.fullmatch(tag) else inside

    def _item(self, inside: str) -> str:
        parent = self._open[-1]
        parent.count += 1
        marker = f"{parent.count}. " if parent.tag == "ol" else "- "
        first, *rest = _tidy(inside).split("\n")
        indent = " " * len(marker)
        return "\n" + "\n".join([marker + first, *(f"{indent}{line}" if line else "" for line in rest)]) + "\n"

    def _row(self, element: _Open, inside: str) -> str:
        table = next((found for found in reversed(self._open) if found.tag == "table"), None)
        row = f"\n|{one_line(inside)}" if "|" not in inside else f"\n| {one_line(inside)}"
        if table is None:
            return row
        table.count += 1
        columns = max(len(re.findall(r"(?<!\\)\|", inside)), 1)
        return row + ("\n|" + " --- |" * columns if table.count == 1 else "")


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
    for line in text.split("\n"):
        if fence:
            fence = "" if line.strip() == fence else fence
            kept.append(line)
            continue
        opening = _FENCE.match(line)
        fence = opening.group(1) if opening else ""
        # A single blank was left by markup; indents are longer.
        clean = line.rstrip() if line.startswith("  ") else line.strip()
        clean = _GAPS.sub(" ", clean) if "  " in clean else clean
        if clean or not kept or kept[-1]:
            kept.append(clean)
    return "\n".join(kept).strip("\n")
