"""A saved page of a ChatGPT share link, older (`__NEXT_DATA__`) or newer (a turbo-stream in script elements)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from workers.importers.chatgpt_conversation import SOURCE, conversation
from workers.importers.json_stream import storable
from workers.importers.ports import ImportedConversation, ImportFailure, ImportItem
from workers.importers.turbo_stream import decode
from workers.importers.turns import Json, an_object, objects
from workers.importers.web_page import page_text

_NEXT = re.compile(r'<script[^>]{0,300}\bid="__NEXT_DATA__"[^>]{0,300}>')
_ENQUEUE = "streamController.enqueue("
_ADDRESS = re.compile(
    r"(?:canonical|og:url|saved from url)[^>]{0,200}?"
    r"(https://(?:chatgpt\.com|chat\.openai\.com)/(?:share/(?:e/)?|s/)([\w-]{4,80}))",
    re.ASCII,
)
_STRINGS = json.JSONDecoder(strict=False)
_MARKS = (_ENQUEUE, "__NEXT_DATA__")
_GONE = "the page holds no conversation: the link may have been deleted, or the page was saved before it was complete"


class ChatGPTShareImporter:
    source = SOURCE

    def recognise(self, file: IO[bytes], filename: str) -> bool:
        page = page_text(file)
        return page is not None and any(mark in page for mark in _MARKS) and ("chatgpt" in page or "openai" in page)

    def read(self, file: IO[bytes], start: int = 0) -> Iterator[ImportItem]:
        page = page_text(file)
        size = file.tell()
        if start == 0:
            yield ImportItem(0, shared_conversation(page or ""), size, size)


def shared_conversation(page: str) -> ImportedConversation | ImportFailure:
    try:
        found = _shared(_data(page))
    except (ValueError, RecursionError) as error:
        return ImportFailure(f"the data of the page cannot be read: {'damaged' if _is_json(error) else error}")
    if found is None:
        return ImportFailure(_GONE)
    raw = _as_exported(found)
    if not raw["mapping"]:
        return ImportFailure(_GONE, title=found.get("title") if isinstance(found.get("title"), str) else None)
    address = _ADDRESS.search(page)
    raw["id"] = found.get("share_id") or (address.group(2) if address else None) or found.get("conversation_id")
    read = conversation(storable(raw))
    if isinstance(read, ImportedConversation):
        read.url = address.group(1) if address else None
    return read


def _is_json(error: Exception) -> bool:
    return isinstance(error, json.JSONDecodeError | RecursionError)


def _data(page: str) -> Any:
    if script := _NEXT.search(page):
        end = page.find("</script", script.end())
        text = page[script.end() : end if end >= 0 else len(page)]
        return json.loads(text, parse_constant=lambda _: None)
    pieces: list[str] = []
    at = page.find(_ENQUEUE)
    while at >= 0:
        quote = max(page.find('"', at), at)
        piece, end = _STRINGS.raw_decode(page, quote)
        pieces.append(piece if isinstance(piece, str) else "")
        at = page.find(_ENQUEUE, end)
    return decode("".join(pieces)) if pieces else None


def _shared(data: Any) -> Json | None:
    """What holds the conversation, wherever the page has it: routes are renamed, their data is not."""
    seen: set[int] = set()
    waiting = [data]
    messages: Json | None = None
    for value in waiting:  # grows while it is walked
        if not isinstance(value, dict | list) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            if isinstance(value.get("linear_conversation"), list) or isinstance(value.get("mapping"), dict):
                return value
            if messages is None and any("author" in message for message in objects(value.get("messages"))):
                messages = value
        waiting.extend(value.values() if isinstance(value, dict) else value)
    return messages


def _as_exported(found: Json) -> Json:
    """As conversations.json has it: a mapping of nodes, whatever form the page gave them."""
    mapping = found.get("mapping")
    nodes = objects(found.get("linear_conversation"))
    if not nodes:
        nodes = [{"message": message} for message in objects(found.get("messages"))]
    current = found.get("current_node")
    if not isinstance(mapping, dict) or not mapping:
        mapping, current = {}, None
        for number, node in enumerate(nodes):
            key = node.get("id") or an_object(node.get("message")).get("id") or f"node-{number}"
            if not isinstance(key, str) or key in mapping:
                key = f"node-{number}"
            mapping[key] = node | {"parent": current}
            current = key
    model = an_object(found.get("model")).get("slug")
    kept = {key: found.get(key) for key in ("title", "create_time", "update_time", "default_model_slug")}
    return kept | {"mapping": mapping, "current_node": current} | ({"default_model_slug": model} if model else {})
