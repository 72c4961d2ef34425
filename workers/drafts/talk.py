"""What a model reads when somebody talks with it about a draft."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workers.drafts.prompts import as_said
from workers.ports import Turn
from workers.summaries.plan import SEPARATOR_TOKENS

NO_DRAFT = "There is no draft yet."
_SUMMARY = "The conversation that it came from is too long to be quoted; this is its summary."
_END = "The conversation that it came from is too long to be quoted; this is how it ended."
_WHOLE = "This is the conversation that it came from."


def system(instruction: str, draft: tuple[str, str] | None) -> str:
    if draft is None:
        return f"{instruction}\n\n{NO_DRAFT}"
    title, description = draft
    return f"{instruction}\n\nThe draft as it is now:\n<draft>\n# {title}\n\n{description}\n</draft>"


def conversation(
    turns: Sequence[Turn], summary: str | None, count_tokens: Callable[[str], int], room_tokens: int
) -> str:
    """All of it, or its summary, or its end, whichever fits first; empty where nothing does."""
    kept: list[str] = []
    left = room_tokens
    said = as_said(turns)
    for text in reversed(said):
        left -= count_tokens(text) + SEPARATOR_TOKENS
        if left < 0:
            break
        kept.insert(0, text)
    if said and len(kept) == len(said):
        return _quoted(_WHOLE, "\n\n".join(said))
    if summary and count_tokens(summary) <= room_tokens:
        return _quoted(_SUMMARY, summary)
    return _quoted(_END, "\n\n".join(kept)) if kept else ""


def _quoted(what: str, text: str) -> str:
    return f"{what}\n<conversation>\n{text}\n</conversation>"
