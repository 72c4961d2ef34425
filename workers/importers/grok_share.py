"""A saved page of a Grok share link: the conversation in its data, else the bubbles it shows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workers.importers import web_page
from workers.importers.grok import SOURCE, grok_conversation
from workers.importers.json_stream import storable
from workers.importers.page_messages import NEAR, Attributes, Kind
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.share_page import SharePageImporter

_TESTED: dict[str | None, Kind] = {"user-message": "user", "assistant-message": "assistant"}
_SIDES: dict[str, Kind] = {"items-end": "user", "items-start": "assistant"}


class GrokShareImporter(SharePageImporter):
    source = SOURCE
    sites = ("grok.com",)
    address = re.compile(r"https?://(?:www\.)?grok\.com(?![\w.-])(?:/(?:share|c|chat)/([\w=%-]{4,160}))?", re.I)
    marks = ("message-bubble", "response-content-markdown", 'data-testid="user-message"', '\\"responses\\":')
    ending = re.compile(r"\s*[|–—-]\s*(?:Shared )?Grok(?: Conversation)?\s*$|^Grok$")

    def carried(self, page: str, shared: str | None) -> ImportedConversation | ImportFailure | None:
        data = web_page.carried(page, "responses")
        return grok_conversation(storable(data)) if data else None

    def tell(self, known: Attributes, around: Sequence[Attributes]) -> Kind | None:
        if tested := _TESTED.get(known.get("data-testid")):
            return tested
        given = known.get("class")
        if not given:
            return None
        classes = given.split()
        if "message-bubble" in classes:
            return _side(known, around)
        if "response-content-markdown" in classes:
            return "prose"
        if "bg-chip" in classes:
            return "file"
        if "thinking-container" in classes or "action-buttons" in classes:
            return "unseen"
        return "language" if "font-mono" in classes and "text-xs" in classes else None


def _side(known: Attributes, around: Sequence[Attributes]) -> Kind:
    """A person's bubbles stand at the right; where nothing tells, Grok is who said it."""
    for near in [known, *reversed(around[-NEAR:])]:
        for name in near.get("class", "").split():
            if name in _SIDES:
                return _SIDES[name]
    return "assistant"
