"""Markdown as it is read aloud: one line of plain text, without what only the eye needs. Pure, and of linear time.

It may be a piece of a longer text, so marks without their partner are dropped, too.
"""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlsplit

CODE = "A block of code."

_FENCE = re.compile(r"[ \t>]{0,20}(`{3,}|~{3,})[^`]*$")
_RULE = re.compile(r"[ \t]*(?:[-*_=][ \t]*){3,}$")
_TABLE_RULE = re.compile(r"[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+[ \t:-]*$")
_QUOTE = re.compile(r"^[ \t]*(?:>[ \t]?)+")
_HEADING = re.compile(r"[ \t]{0,3}#{1,6}(?:[ \t]+|$)")
_ITEM = re.compile(r"[ \t]*(?:[-*+•][ \t]+|(\d{1,9}[.)])[ \t]+)(?:\[[ xX]\][ \t]+)?")

_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_CODE_SPAN = re.compile(r"(`+)([^`\n]+)\1(?!`)")
_TAG = re.compile(r"<!--[^<>]{0,2000}-->|</?[A-Za-z][A-Za-z0-9-]{0,30}(?:\s[^<>]{0,500})?/?>")
_ADDRESS_TAG = re.compile(r"<(https?://[^<>\s]{1,2000}|[\w.+-]{1,64}@[\w.-]{1,200})>")
# [1], [2, 3], [^note] and 【4†source】 are for who wants to look something up.
_SOURCE = re.compile(
    r"[ \t]?(?:\[\^[^\[\]\s]{1,40}\]:?"
    r"|(?<!\])(?:\[\d{1,3}(?:\s?[,–-]\s?\d{1,3}){0,9}\]){1,20}(?![(:])|【[^【】]{1,80}】)"
)
_LINK = re.compile(
    r"!?\[([^\[\]]{0,1000})\]"
    r"(?:\([^()\s]{0,2000}(?:\([^()\s]{0,500}\)[^()\s]{0,500})?(?:\s+\"[^\"]{0,300}\")?\)|\[[^\[\]]{0,200}\])"
)
_LINK_END = re.compile(r"\]\(\s*(?:https?://|/|#)[^()\s]{0,2000}\)?")  # its begin was said with another piece
_ADDRESS = re.compile(r"\b(?:https?://|www\.)[^\s<>\"'“”]{1,2000}", re.IGNORECASE)
_EMPHASIS = re.compile(r"\*+|~~+|(?<![^\W_])_+|_+(?![^\W_])")
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\u25a0-\u25ff\ufe0e\ufe0f\u200d\u20e3"
    "\U000e0020-\U000e007f]+"
)
_ARROW = re.compile(r"\s*(?:[\u2190-\u21ff]|<?[-=]{1,2}>)\s*")
_BLANKS = re.compile(r"\s+")
_GAP = re.compile(r"\s+([,.;:!?…)])")
_DOUBLED = re.compile(r"([,;:])(?:\s*[,;:])+")
_STOPPED = tuple(".!?…:;,。！？؟।")


def spoken_text(markdown: str) -> str:
    """Empty where nothing is to be said."""
    lines: list[str] = []
    fence = ""
    for line in markdown.splitlines():
        opened = _FENCE.match(line)
        if fence:
            if opened and opened[1].startswith(fence) and not line.strip(" \t>").strip(fence[0]):
                fence = ""
        elif opened:
            fence = opened[1]
            lines.append(CODE)
        else:
            lines.append(_line(line))
    text = _EMOJI.sub(" ", " ".join(lines))
    text = _DOUBLED.sub(r"\1", _GAP.sub(r"\1", _BLANKS.sub(" ", text))).strip()
    return text if any(character.isalnum() for character in text) else ""


def _line(line: str) -> str:
    if _RULE.match(line) or _TABLE_RULE.match(line):
        return ""
    line = _QUOTE.sub("", line, count=1)
    is_whole = True  # a line that is a sentence, whether or not a full stop ends it
    if heading := _HEADING.match(line):
        line = line[heading.end() :].rstrip("# \t")
    elif line.lstrip().startswith("|"):
        line = ", ".join(cell.strip() for cell in line.strip().strip("|").split("|") if cell.strip())
    elif item := _ITEM.match(line):
        line = f"{item[1] or ''} {line[item.end() :]}"
    else:
        is_whole = False
    said = _inline(line).strip()
    if is_whole and said and not said.endswith(_STOPPED) and any(character.isalnum() for character in said):
        said += "."
    return said


def _inline(text: str) -> str:
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        """Code and escaped characters are no marks: their own stand aside meanwhile."""
        kept.append(match[match.lastindex or 0])
        return "\ue000"

    text = text.replace("\ue000", "")
    text = _CODE_SPAN.sub(keep, text)
    text = _ESCAPE.sub(keep, text)
    text = _ADDRESS_TAG.sub(r" \1 ", text)
    text = _TAG.sub(" ", text)
    text = _SOURCE.sub("", text)
    text = _LINK_END.sub("", _LINK.sub(r"\1", _LINK.sub(r"\1", text)))  # twice: a picture may be a link's text
    text = _ADDRESS.sub(_host, text)
    text = unescape(_EMPHASIS.sub("", text))
    text = _ARROW.sub(", ", text)
    text = text.replace("`", "").replace("_", " ").strip("[")
    for whole in kept:
        text = text.replace("\ue000", whole.replace("_", " "), 1)
    return text


def _host(match: re.Match[str]) -> str:
    """An address is known by its host; nobody listens to the rest."""
    address = match[0].rstrip(".,;:!?)]*_")
    try:
        host = urlsplit(address if "://" in address else f"http://{address}").hostname or ""
    except ValueError:
        host = ""
    return host.removeprefix("www.") + match[0][len(address) :]
