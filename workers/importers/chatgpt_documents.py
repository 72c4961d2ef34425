"""What ChatGPT wrote beside the conversation, and a person saw there: canvas documents, and reports of deep research.

Both stand in what was said to a tool or by one, as JSON inside a text.
"""

from __future__ import annotations

import json
from typing import Any

from workers.importers.chatgpt_content import Json, Rendered, render
from workers.importers.json_stream import storable
from workers.importers.values import fenced, one_line

_CANVAS = "canmore.create_textdoc"  # later changes are patterns and replacements, and stay the tool's


def document(raw: Json, metadata: Json) -> tuple[Rendered, Json] | None:
    """The document in a message, and the metadata its citations stand in; None for nearly all messages."""
    if raw.get("recipient") == _CANVAS:
        text = _canvas(raw.get("content"))
        return (Rendered(text, "canvas", "visible"), {}) if text else None
    sdk = metadata.get("chatgpt_sdk")
    return _report(sdk.get("widget_state")) if isinstance(sdk, dict) else None


def _canvas(content: Any) -> str:
    written = _parsed(render({**content, "content_type": "text"}, {}).text) if isinstance(content, dict) else {}
    text, name, kind = written.get("content"), written.get("name"), written.get("type")
    if not isinstance(text, str) or not text.strip():
        return ""
    language = kind.removeprefix("code/") if isinstance(kind, str) and kind.startswith("code/") else None
    title = f"**{one_line(name)}**\n\n" if isinstance(name, str) and name.strip() else ""
    return title + (text if language is None else fenced(text, language if language.isalnum() else ""))


def _report(state: Any) -> tuple[Rendered, Json] | None:
    """One that is still being written holds none, or a part of it."""
    known = _parsed(state)
    message = known.get("report_message")
    if known.get("status") not in (None, "completed") or not isinstance(message, dict):
        return None
    metadata = message.get("metadata")
    rendered = render(message.get("content"), {})
    rendered.visibility = "visible"
    return (rendered, metadata if isinstance(metadata, dict) else {}) if rendered.text.strip() else None


def _parsed(text: Any) -> Json:
    try:
        found = storable(json.loads(text)) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
