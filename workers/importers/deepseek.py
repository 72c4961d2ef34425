"""DeepSeek's data export. Its file is called conversations.json and has ChatGPT's outer shape: a mapping of nodes. What
tells them apart are the fragments of its messages."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from workers.importers import values
from workers.importers.archive import Member
from workers.importers.json_importer import JsonImporter
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.tree import Parents, break_circles, parents_first
from workers.importers.turns import (
    Head,
    Json,
    Notes,
    Turn,
    an_object,
    any_text,
    conversation,
    first_of,
    objects,
    role_of,
    text_or_none,
    unknown,
)
from workers.ports import Role

SOURCE = "deepseek"

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "tool": "tool"}
_ASKED = ("REQUEST",)
_SAID = ("RESPONSE", "TEMPLATE_RESPONSE", "ANSWER", "TEXT")
_THOUGHT = ("THINK", "THINKING")


class DeepSeekImporter(JsonImporter):
    source = SOURCE
    marks = ("fragments", "inserted_at")

    def is_mine(self, element: Any) -> bool | None:
        if not isinstance(element, dict):
            return None
        if not isinstance(element.get("mapping"), dict):
            return False
        messages = [message for _, message in _spoken(element["mapping"])]
        if any("fragments" in message for message in messages):
            return True
        if any("author" in message for message in messages):
            return False
        return True if "inserted_at" in element else None

    def is_usual(self, member: Member) -> bool:
        return False  # ChatGPT's file has the same name

    def convert(self, element: Any) -> ImportedConversation | ImportFailure:
        return deepseek_conversation(element)


def _spoken(mapping: Json) -> list[tuple[str, Json]]:
    return [
        (key, node["message"])
        for key, node in mapping.items()
        if isinstance(node, dict) and isinstance(node.get("message"), dict)
    ]


def deepseek_conversation(raw: Any) -> ImportedConversation | ImportFailure:
    if not isinstance(raw, dict):
        return ImportFailure("this is not an object, as a conversation would be")
    identifier = values.native_id(raw.get("id"))
    mapping = raw.get("mapping")
    if not isinstance(mapping, dict):
        title = values.title(raw.get("title")) if raw.get("title") else None
        return ImportFailure("it has no `mapping`, as a DeepSeek conversation would", identifier, title)
    notes: Notes = Counter()
    turns: list[Turn] = []
    for key, node in mapping.items():
        if isinstance(node, dict):
            turns.append(_turn(key, an_object(node.get("message")), values.native_id(node.get("parent")), notes))
        else:
            notes["a node is not an object and was skipped"] += 1
    spoken = _spoken(mapping)
    _take_turns(turns, {key for key, message in spoken if not message.get("fragments") and "role" not in message})
    head = Head(
        native_id=identifier,
        title=raw.get("title"),
        begun=raw.get("inserted_at"),
        changed=raw.get("updated_at"),
        current=values.native_id(first_of(raw, "current_node", "current_message_id")),
        url=f"https://chat.deepseek.com/a/chat/s/{identifier}"
        if identifier and re.fullmatch(r"[\w-]+", identifier, re.ASCII)
        else None,
    )
    return conversation(SOURCE, head, turns, notes)


def _take_turns(turns: list[Turn], unnamed: set[str]) -> None:
    """The messages of early 2025 name no author: whatever stands below a question is an answer, and the reverse."""
    if not unnamed:
        return
    known = {turn.native_id: turn for turn in turns if turn.native_id}
    parents: Parents = {key: turn.parent if turn.parent in known else None for key, turn in known.items()}
    break_circles(parents)
    for key in parents_first(parents, lambda _, children: children):
        above, turn = known.get(parents[key] or ""), known[key]
        if key in unnamed and not turn.asides and (above is None or above.role != "user"):
            turn.role, turn.model = "user", None


def _turn(key: str, raw: Json, parent: str | None, notes: Notes) -> Turn:
    fragments = objects(raw.get("fragments"))
    role: Role = "user" if any(fragment.get("type") in _ASKED for fragment in fragments) else "assistant"
    if not fragments and raw.get("role"):
        role = role_of(raw["role"], _ROLES, notes)
    turn = Turn(
        native_id=values.native_id(key),
        parent=parent,
        role=role,
        model=text_or_none(raw.get("model")) if role == "assistant" else None,
        created_at=values.moment(raw.get("inserted_at")),
    )
    for fragment in fragments:
        _fragment(fragment, turn, notes)
    if not fragments:
        turn.think(raw.get("reasoning_content"))
        turn.say(any_text(raw.get("content")))
        _pages(raw.get("search_results"), turn)
    for file in objects(raw.get("files")):
        turn.attach(
            id=values.native_id(first_of(file, "id", "file_id")),
            name=first_of(file, "file_name", "name"),
            size=values.whole(first_of(file, "file_size", "size")),
        )
        text = file.get("content")
        if isinstance(text, str) and text.strip():
            turn.say(f"[file: {values.one_line(any_text(file, 'file_name', 'name'))}]\n\n{values.fenced(text)}")
    return turn


def _fragment(fragment: Json, turn: Turn, notes: Notes) -> None:
    kind = fragment.get("type")
    if kind in _ASKED or kind in _SAID:
        turn.say(any_text(fragment.get("content")))
    elif kind in _THOUGHT:
        turn.think(any_text(fragment.get("content")))
    elif kind == "SEARCH" or "results" in fragment:
        queries = [query.get("query") for query in objects(fragment.get("queries"))]
        if any(queries):
            turn.call("search", [query for query in queries if query])
        _pages(fragment.get("results"), turn)
    else:
        unknown(notes, kind)
        turn.say(any_text(fragment))


def _pages(results: Any, turn: Turn) -> None:
    listed: list[str] = []
    for page in objects(results):
        title, url = any_text(page.get("title")), any_text(page.get("url"))
        listed.append("\n\n".join(text for text in (values.link(title, url), any_text(page.get("snippet"))) if text))
    turn.result("\n\n".join(listed), "search")
