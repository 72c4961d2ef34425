"""A draft without a language model: says so, and quotes what stands for most of the conversation."""

from __future__ import annotations

from collections.abc import Sequence

from workers.ports import Turn
from workers.summaries.extractive import best_sentences

NOTICE = "No language model is loaded, so nobody wrote this draft; it quotes what stands for most of the conversation."
HELP = "To get written drafts, run `backchannel models pull`, or set `MODEL_PATH` or a provider's key and restart."
MAX_QUERY_CHARS = 500
_MAX_QUOTE_CHARS = 300


def description(turns: Sequence[Turn], problem: str | None) -> str:
    """`problem`: why the configured model is not there, as one sentence."""
    quotes = [f"> {one.speaker}: {_short(one.text)}" for one in best_sentences(turns)]
    if not quotes:  # nothing but code, or a few words
        quotes = [f"> {turn.role.capitalize()}: {_short(turn.content)}" for turn in turns[:8]]
    return "\n\n".join((" ".join(filter(None, (NOTICE, problem, HELP))), *quotes))


def query(title: str, turns: Sequence[Turn]) -> str:
    """What to ask a search by meaning for what belongs to a conversation: its title and most central sentences."""
    said = [one.text for one in best_sentences(turns)] or [turn.content for turn in turns[:3]]
    return " ".join(" ".join((title, *said)).split())[:MAX_QUERY_CHARS]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_QUOTE_CHARS else f"{line[:_MAX_QUOTE_CHARS].rstrip()}…"
