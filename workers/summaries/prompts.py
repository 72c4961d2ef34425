"""What a model is told when it summarises. A kept part's digest covers these words: changed words make new parts."""

from __future__ import annotations

from config.prompts import DEFAULTS, SUMMARY, SUMMARY_RULES
from workers.ports import ChatMessage

PART = f"You summarise one part of a conversation, in order, in a few sentences. {SUMMARY_RULES}"
JOIN = (
    "You are given summaries of successive parts of a conversation. Join them into one shorter summary. "
    f"{SUMMARY_RULES}"
)
WHOLE = DEFAULTS[SUMMARY]
FINAL = (
    "You are given summaries of successive parts of a conversation. Write one summary of the whole for somebody who "
    f"was not there: first what it is about, then how it went. {SUMMARY_RULES}"
)
ALL = (PART, JOIN, WHOLE, FINAL)
# Before somebody's own words for the summary, where the model reads summaries of parts.
OF_PARTS = "You are given summaries of successive parts of a conversation, in place of the conversation itself."

ASK = "Write the summary now."
MAX_TITLE_CHARS = 200


def messages(instruction: str, text: str, days: tuple[str, str], title: str = "") -> tuple[ChatMessage, ...]:
    first, last = days
    about = [f"Title: {' '.join(title.split())[:MAX_TITLE_CHARS]}"] if title.strip() else []
    about += [f"Dates: {first}" + (f" to {last}" if last != first else "")] if first else []
    quoted = "\n\n".join(("\n".join(about), f"<conversation>\n{text}\n</conversation>", ASK)).strip()
    return (ChatMessage("system", instruction), ChatMessage("user", quoted))
