"""A saved page of a ChatGPT share link: its data, older (`__NEXT_DATA__`) or newer (a turbo-stream in script elements),
else the messages it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from workers.importers.chatgpt_conversation import SOURCE, conversation
from workers.importers.json_stream import storable
from workers.importers.page_messages import Attributes, Kind
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.share_page import SharePageImporter
from workers.importers.turbo_stream import decode
from workers.importers.turns import Json, an_object, objects

_NEXT = re.compile(r'<script[^>]{0,300}\bid="__NEXT_DATA__"[^>]{0,300}>')
_ENQUEUE = "streamController.enqueue("
_STRINGS = json.JSONDecoder(strict=False)
_GONE = "the page holds no conversation: the link may have been deleted, or the page was saved before it was complete"


class ChatGPTShareImporter(SharePageImporter):
    source = SOURCE
    sites = ("chatgpt", "openai")
    address = re.compile(
        r"https?://(?:www\.)?(?:chatgpt\.com|chat\.openai\.com)(?![\w.-])(?:/(?:share/(?:e/)?|s/)([\w-]{4,80}))?",
        re.ASCII | re.IGNORECASE,
    )
    marks = (_ENQUEUE, "__NEXT_DATA__", "data-message-author-role")
    ending = re.compile(r"^ChatGPT(?:\s*[-–—|]\s*|$)|\s*[-–—|]\s*ChatGPT\s*$")

    def carried(self, page: str, shared: str | None) -> ImportedConversation | ImportFailure | None:
        try:
            found = _shared(_data(page))
        except (ValueError, RecursionError) as error:
            return ImportFailure(f"the data of the page cannot be read: {'damaged' if _is_json(error) else error}")
        if found is None:
            return ImportFailure(_GONE)
        raw = _as_exported(found)
        if not raw["mapping"]:
            return ImportFailure(_GONE, title=found.get("title") if isinstance(found.get("title"), str) else None)
        raw["id"] = found.get("share_id") or shared or found.get("conversation_id")
        return conversation(storable(raw))

    def tell(self, known: Attributes, around: Sequence[Attributes]) -> Kind | None:
        if "data-message-author-role" in known:
            return "user" if known["data-message-author-role"] == "user" else "assistant"
        classes = known.get("class", "").split()
        if "markdown" in classes:
            return "prose"
        return "language" if "font-sans" in classes and "text-xs" in classes else None


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
