"""ChatGPT's citations: markers in the text, sources in the metadata, in three generations.

- now: U+E200 kind U+E202 reference U+E201 in the text; content_references, by matched_text, start_idx or order
- 2024: 【6†source】 or 【12†L1-L3】 in the text; content_references as well, or citations, by start_ix
- markers without a known source are removed, and the sources listed below the text
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from workers.importers.values import link, one_line

Json = dict[str, Any]

# A marker that was cut off has no U+E201; it ends at the next space.
_MARKER = re.compile("\ue200[^\ue200\ue201]*\ue201|\ue200[^\ue200\ue201\\s]*|【[^【】\n]{0,40}†[^【】\n]{0,80}】")
_STRAY = re.compile("[\ue200-\ue206]")
_ADDRESS = re.compile(r"https?://|turn\d+\w+\d+$")  # of a page, or of one among those that were found
_MAX_LINKS = 20  # of one citation


def resolve(text: str, metadata: Json) -> tuple[str, list[Json]]:
    """The text with markers made into links, and the web pages it cites as {"title", "url"}."""
    references = _references(metadata)
    if not references and "\ue200" not in text and "†" not in text:
        return text, []
    sources = _distinct(source for reference in references for source in _sources(reference))
    markers = list(_MARKER.finditer(text))
    if markers:
        text = _replace(text, markers, references, sources)
    return _STRAY.sub("", text), sources


def _replace(text: str, markers: list[re.Match[str]], references: list[Json], sources: list[Json]) -> str:
    pieces: list[str] = []
    at, unresolved = 0, False
    for marker, reference in zip(markers, _match(markers, references), strict=True):
        shown = _shown(marker.group(), reference)
        unresolved = unresolved or (reference is None and not shown)
        before = text[at : marker.start()]
        if shown.startswith("(") and before and not before[-1].isspace():
            shown = " " + shown
        pieces += [before, shown]
        at = marker.end()
    text = "".join([*pieces, text[at:]])
    if unresolved and sources:
        text = text.rstrip() + "\n\nSources:\n" + "\n".join(f"- {link(s['title'], s['url'])}" for s in sources)
    return text


def _match(markers: list[re.Match[str]], references: list[Json]) -> list[Json | None]:
    """The reference of each marker: by place, else by the text it says it stands for, else all of them by order."""
    cited = [reference for reference in references if _is_marker(reference)]
    by_place: dict[int, Json] = {}
    by_text: dict[str, Json] = {}
    for reference in cited:
        start, matched = reference.get("start_idx", reference.get("start_ix")), reference.get("matched_text")
        if isinstance(start, int):
            by_place.setdefault(start, reference)
        if isinstance(matched, str):
            by_text.setdefault(matched, reference)
    chosen: list[Json | None] = []
    for marker in markers:
        there = by_place.get(marker.start())
        agrees = there is not None and there.get("matched_text", marker.group()) == marker.group()
        chosen.append(there if agrees else by_text.get(marker.group()))
    return list(cited) if None in chosen and len(cited) == len(markers) else chosen


def _references(metadata: Json) -> list[Json]:
    found: list[Json] = []
    for key in ("content_references", "citations"):
        given = metadata.get(key)
        if isinstance(given, list):
            found += [reference for reference in given if isinstance(reference, dict)]
    return found


def _is_marker(reference: Json) -> bool:
    """Others stand for the whole answer (a list of sources whose matched_text is one space)."""
    matched = reference.get("matched_text")
    return bool(_MARKER.match(matched)) if isinstance(matched, str) else "start_ix" in reference


def _shown(marker: str, reference: Json | None) -> str:
    if written := _written_link(marker, reference):
        return written
    if reference is None:
        return _entity_name(marker)
    links = [link(source["title"], source["url"]) for source in _distinct(_sources(reference))[:_MAX_LINKS]]
    if links:
        return f"({', '.join(links)})"
    file = reference.get("metadata")
    name = reference.get("name") or (file.get("name") or file.get("title") if isinstance(file, dict) else None)
    return _entity_name(marker) or (f"({one_line(name)})" if isinstance(name, str) and name else "")


def _written_link(marker: str, reference: Json | None) -> str:
    """`url` markers hold the words of the link and its address: they are part of the sentence."""
    kind, *fields = marker.strip("\ue200\ue201").split("\ue202")
    words = next((field for field in fields if not _ADDRESS.match(field)), "")
    if kind != "url" or not words.strip():
        return ""
    addresses = [field for field in fields if field.startswith("http")]
    addresses += [source["url"] for source in _sources(reference or {})]
    return link(words, addresses[0] if addresses else "")


def _entity_name(marker: str) -> str:
    """`entity` markers hold ["kind", "name as shown", …] and stand in the sentence in place of the name."""
    kind, _, payload = marker.strip("\ue200\ue201").partition("\ue202")
    if kind != "entity":
        return ""
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    named = isinstance(values, list) and len(values) > 1 and isinstance(values[1], str)
    return values[1] if named else ""


def _sources(reference: Json) -> list[Json]:
    """The pages a reference names: itself, its items, their supporting sites, or the older nested metadata."""
    found: list[Json] = []
    entries: list[Any] = [reference]
    for entry in entries:  # grows while it is walked
        if not isinstance(entry, dict):
            continue
        url, title = entry.get("url"), entry.get("title")
        if isinstance(url, str) and url.startswith(("http://", "https://")):
            found.append({"title": one_line(title) if isinstance(title, str) and title else url, "url": url})
        for key in ("metadata", "items", "sources", "supporting_websites"):
            below = entry.get(key)
            if below:
                entries.extend(below if isinstance(below, list) else [below])
    return found


def _distinct(sources: Iterable[Json]) -> list[Json]:
    found: dict[str, Json] = {}
    for source in sources:
        found.setdefault(source["url"], source)
    return list(found.values())
