"""Elements that a source writes into the text of its messages, taken out again. Linear in the text, whatever it is."""

from __future__ import annotations

import re

_ATTRIBUTE = re.compile(r'([\w-]{1,40})="([^"]*)"')


class Element:
    __slots__ = ("attributes", "inside", "text")

    def __init__(self, text: str, opening: str, inside: str) -> None:
        self.text = text  # all of it, as it stood there
        self.attributes: dict[str, str] = dict(_ATTRIBUTE.findall(opening))
        self.inside = inside


def cut(text: str, tag: str, kinds: tuple[str, ...] = ()) -> tuple[str, list[Element]]:
    """The text without `<tag …>…</tag>` and `<tag …/>`, and what was taken out. With `kinds` only elements whose `type`
    is one of them; what is never closed stays."""
    opener, closer = f"<{tag}", f"</{tag}>"
    pieces: list[str] = []
    removed: list[Element] = []
    at = kept_from = 0
    while (start := text.find(opener, at)) >= 0 and (bracket := text.find(">", start)) >= 0:
        opening = text[start : bracket + 1]
        at = bracket + 1
        if opening[len(opener)] not in " \t\n/>" or (kinds and not _is_kind(opening, kinds)):
            continue
        inside = ""
        if not opening.endswith("/>"):
            close = text.find(closer, at)
            if close < 0:
                break
            inside, at = text[at:close], close + len(closer)
        pieces.append(text[kept_from:start])
        removed.append(Element(text[start:at], opening, inside))
        kept_from = at
    return "".join([*pieces, text[kept_from:]]), removed


def _is_kind(opening: str, kinds: tuple[str, ...]) -> bool:
    return dict(_ATTRIBUTE.findall(opening)).get("type") in kinds
