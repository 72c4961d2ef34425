"""A conversation of BranchPrompt: what its API says of it and the list of its messages, in one document."""

from __future__ import annotations

from collections import Counter
from typing import Any

from workers.importers import values
from workers.importers.json_importer import JsonImporter
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.turns import (
    PREVIOUS,
    Head,
    Json,
    Notes,
    Turn,
    any_text,
    conversation,
    first_of,
    objects,
    role_of,
    text_or_none,
)
from workers.ports import Role

SOURCE = "branchprompt"

_ROLES: dict[str, Role] = {"user": "user", "human": "user", "assistant": "assistant", "system": "system"}


class BranchPromptImporter(JsonImporter):
    source = SOURCE
    marks = ("branchprompt",)

    def is_mine(self, element: Any) -> bool | None:
        return isinstance(element, dict) and isinstance(element.get("branchprompt"), str)

    def convert(self, element: Any) -> ImportedConversation | ImportFailure:
        identifier = values.native_id(element.get("branchprompt")) if isinstance(element, dict) else None
        if identifier is None or not isinstance(element.get("messages"), list):
            return ImportFailure("it has no list of `messages`, as a BranchPrompt conversation would", identifier)
        notes: Notes = Counter()
        head = Head(
            native_id=identifier,
            title=element.get("title"),
            begun=first_of(element, "createdAt", "created_at"),
            changed=first_of(element, "updatedAt", "updated_at"),
            url=f"https://v2.branchprompt.com/conversation/{identifier}",
            model=element.get("model"),
        )
        return conversation(SOURCE, head, [_turn(raw, notes) for raw in objects(element["messages"])], notes)


def _turn(raw: Json, notes: Notes) -> Turn:
    role = role_of(raw.get("role"), _ROLES, notes)
    turn = Turn(
        native_id=values.native_id(first_of(raw, "id", "_id")),
        parent=PREVIOUS,
        role=role,
        visibility="hidden" if role == "system" else "visible",
        model=text_or_none(raw.get("model")) if role == "assistant" else None,
        created_at=values.moment(first_of(raw, "createdAt", "created_at", "timestamp")),
    )
    turn.say(any_text(raw.get("content")))
    for file in objects(raw.get("files")):
        name = any_text(file, "name", "filename")
        turn.attach(id=values.native_id(first_of(file, "id", "_id")), name=name)
        text = first_of(file, "content", "description")
        if isinstance(text, str) and text.strip():
            turn.say(f"[file: {values.one_line(name) or 'unnamed'}]\n\n{values.fenced(text)}")
    return turn
