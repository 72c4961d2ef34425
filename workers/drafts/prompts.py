"""What a model reads when it writes a draft, and in which form it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.ports import ChatMessage, Turn

TITLE_CHARS = 80  # what Linear takes
_ASK_JSON = 'Write the draft now, as one JSON object: {"title": "…", "description": "…"}.'
_ASK_TEXT = "Write the draft now: the title in the first line, then an empty line, then the description."
_SUMMARY = "The conversation is too long to be quoted; this is its summary."
_MEMORIES = "What is remembered of this person, as far as it seems to matter; not part of the conversation:"


def messages(
    instruction: str, title: str, text: str, *, is_summary: bool, memories: Sequence[str], in_json: bool
) -> tuple[ChatMessage, ...]:
    parts = [f"Title: {' '.join(title.split())[:200]}"] if title.strip() else []
    parts += [_SUMMARY] if is_summary else []
    parts.append(f"<conversation>\n{text}\n</conversation>")
    if memories:
        parts.append("\n".join((_MEMORIES, *(f"- {' '.join(memory.split())}" for memory in memories))))
    parts.append(_ASK_JSON if in_json else _ASK_TEXT)
    return (ChatMessage("system", instruction), ChatMessage("user", "\n\n".join(parts)))


def schema(*, bounded: bool) -> dict[str, Any]:
    """`bounded`: for who follows a schema by its letter; others are only confused by lengths."""
    title = {"type": "string"} | ({"minLength": 1, "maxLength": TITLE_CHARS} if bounded else {})
    return {
        "title": "project_draft",
        "type": "object",
        "properties": {"title": title, "description": {"type": "string"}},
        "required": ["title", "description"],
        "additionalProperties": False,
    }


def as_said(turns: Sequence[Turn]) -> list[str]:
    return [f"{turn.role.capitalize()}: {turn.content.strip()}" for turn in turns if turn.content.strip()]
