"""A saved page of a Claude share link (or of a chat): the snapshot in its data, else the messages it shows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workers.importers import web_page
from workers.importers.claude import SOURCE, claude_conversation
from workers.importers.json_stream import storable
from workers.importers.page_messages import Attributes, Kind
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.share_page import SharePageImporter

_USER = frozenset(("font-user-message", "!font-user-message"))
_ASSISTANT = frozenset(("font-claude-response", "font-claude-message"))
_PROSE = frozenset(("standard-markdown", "progressive-markdown"))


class ClaudeShareImporter(SharePageImporter):
    source = SOURCE
    sites = ("claude.ai",)
    address = re.compile(r"https?://(?:www\.)?claude\.ai(?![\w.-])(?:/(?:share|chat)/([0-9a-f-]{36}))?", re.I)
    marks = ('data-testid="user-message"', "font-claude-", "font-user-message", "chat_messages")
    ending = re.compile(r"\s*(?:[|\\/–—-]\s*(?:Claude|Anthropic))+\s*$|^Claude$")

    def carried(self, page: str, shared: str | None) -> ImportedConversation | ImportFailure | None:
        data = web_page.carried(page, "chat_messages")
        return claude_conversation(storable(data)) if data else None

    def tell(self, known: Attributes, around: Sequence[Attributes]) -> Kind | None:
        marked = known.get("data-testid")
        if marked == "user-message":
            return "user"
        if marked == "file-thumbnail":
            return "file"
        if marked == "assistant-message" or "data-is-streaming" in known:
            return "assistant"
        given = known.get("class")
        if not given:
            return None
        classes = given.split()
        if not _USER.isdisjoint(classes):
            return "user"
        if not _ASSISTANT.isdisjoint(classes):
            return "assistant"
        if not _PROSE.isdisjoint(classes):
            return "prose"
        return "card" if any(name.endswith("artifact-block-cell") for name in classes) else None
