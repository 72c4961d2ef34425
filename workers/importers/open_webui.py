"""Open WebUI's exports: an array of chats as the server keeps them, or one chat object by itself."""

from __future__ import annotations

import html
from collections import Counter
from typing import Any

from workers.importers import values
from workers.importers.json_importer import JsonImporter
from workers.importers.markup import Element, cut
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.turns import (
    PREVIOUS,
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

SOURCE = "open-webui"

_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
_FOLDED = ("reasoning", "tool_calls", "code_interpreter")  # <details type="…"> written into the answer's text


class OpenWebUIImporter(JsonImporter):
    source = SOURCE
    marks = ("history", "chat")

    def is_mine(self, element: Any) -> bool | None:
        if not isinstance(element, dict):
            return None
        chat = element.get("chat")
        if isinstance(chat, dict):
            return isinstance(chat.get("history"), dict) or isinstance(chat.get("messages"), list)
        return isinstance(an_object(element.get("history")).get("messages"), dict)

    def convert(self, element: Any) -> ImportedConversation | ImportFailure:
        return open_webui_conversation(element)


def open_webui_conversation(raw: Any) -> ImportedConversation | ImportFailure:
    if not isinstance(raw, dict):
        return ImportFailure("this is not an object, as a chat would be")
    chat = an_object(raw.get("chat")) or raw
    identifier = values.native_id(raw.get("id")) or values.native_id(chat.get("id"))
    name = first_of(raw, "title") or chat.get("title")
    history = an_object(chat.get("history"))
    nodes = history.get("messages")
    notes: Notes = Counter()
    if isinstance(nodes, dict) and nodes:
        turns = [_turn(node, key, notes) for key, node in nodes.items() if isinstance(node, dict)]
        if len(turns) < len(nodes):
            notes["a message is not an object and was skipped"] += len(nodes) - len(turns)
    elif isinstance(chat.get("messages"), list):
        turns = [_turn(node, None, notes) for node in objects(chat["messages"])]
    elif isinstance(nodes, dict):
        turns = []
    else:
        title = values.title(name) if name else None
        return ImportFailure("it has neither `history` nor `messages`, as an Open WebUI chat would", identifier, title)
    models = chat.get("models")
    about = {"folder_id": raw.get("folder_id"), "system": first_of(an_object(chat.get("params")), "system")}
    tags = an_object(raw.get("meta")).get("tags")
    head = Head(
        native_id=identifier,
        title=name,
        begun=first_of(raw, "created_at") or chat.get("timestamp"),
        changed=raw.get("updated_at"),
        current=values.native_id(history.get("currentId")),
        model=models[0] if isinstance(models, list) and len(models) == 1 else None,
        is_archived=raw.get("archived") is True,
        metadata={key: value for key, value in about.items() if isinstance(value, str) and value}
        | ({"is_pinned": True} if raw.get("pinned") is True else {})
        | ({"tags": [tag for tag in tags if isinstance(tag, str)]} if isinstance(tags, list) and tags else {}),
    )
    return conversation(SOURCE, head, turns, notes)


def _turn(raw: Json, key: str | None, notes: Notes) -> Turn:
    linear = key is None and "parentId" not in raw
    role = role_of(raw.get("role"), _ROLES, notes)
    turn = Turn(
        native_id=values.native_id(key) or values.native_id(raw.get("id")),
        parent=PREVIOUS if linear else values.native_id(raw.get("parentId")),
        role=role,
        visibility={"system": "hidden", "tool": "tool"}.get(role, "visible"),  # type: ignore[arg-type]
        model=text_or_none(raw.get("model")) if role == "assistant" else None,
        created_at=values.moment(raw.get("timestamp")),
    )
    turn.think(first_of(raw, "reasoning_content", "reasoning"))
    for piece in _pieces(raw.get("content"), turn, notes):
        _say(piece, turn)
    if not turn.shown and not turn.asides:
        _output(raw.get("output"), turn, notes)
    _around(raw, turn)
    return turn


def _pieces(content: Any, turn: Turn, notes: Notes) -> list[str]:
    if isinstance(content, str):
        return [content]
    found: list[str] = []
    for part in objects(content):
        kind = part.get("type")
        if kind == "image_url":
            _image(an_object(part.get("image_url")).get("url"), turn)
        else:
            if kind not in ("text", "input_text", "output_text"):
                unknown(notes, kind)
            found.append(any_text(part))
    return found


def _say(text: str, turn: Turn) -> None:
    if "<details" in text:
        text, folded = cut(text, "details", _FOLDED)
        for element in folded:
            _fold(element, turn)
        text = text.strip() if folded else text
    turn.say(text)


def _fold(element: Element, turn: Turn) -> None:
    inside, _ = cut(element.inside, "summary")
    inside = html.unescape(inside).strip()
    known = {key: html.unescape(value) for key, value in element.attributes.items()}
    if known.get("type") == "reasoning":
        turn.think("\n".join(line.removeprefix(">").removeprefix(" ") for line in inside.splitlines()))
        return
    name = known.get("name") or ("code_interpreter" if known.get("type") == "code_interpreter" else None)
    turn.call(name, known.get("arguments") or inside)
    turn.result(known.get("result") or known.get("output") or "", name)


def _output(items: Any, turn: Turn, notes: Notes) -> None:
    """The newer form of an answer: items as OpenAI's Responses have them."""
    for item in objects(items):
        kind = item.get("type")
        if kind == "message":
            turn.say(any_text(item.get("content")))
        elif kind == "reasoning":
            turn.think(any_text(item.get("content")) or any_text(item.get("summary")))
        elif kind == "function_call":
            turn.call(item.get("name"), item.get("arguments"))
        elif kind == "function_call_output":
            turn.result(any_text(item.get("output")))
        else:
            unknown(notes, kind)
            turn.say(any_text(item))


def _around(raw: Json, turn: Turn) -> None:
    """Files, sources, and the error that an answer ended with."""
    for file in objects(raw.get("files")):
        inner = an_object(file.get("file"))
        meta = an_object(inner.get("meta"))
        if file.get("type") == "image":
            _image(file.get("url"), turn)
        else:
            turn.attach(
                id=values.native_id(first_of(file, "id") or inner.get("id")),
                name=first_of(file, "name") or inner.get("filename") or meta.get("name"),
                mime_type=first_of(file, "content_type") or meta.get("content_type"),
                size=values.whole(first_of(file, "size") or meta.get("size")),
            )
    for source in objects(first_of(raw, "sources", "citations")):
        about = an_object(source.get("source"))
        turn.cite(about.get("url"), about.get("name"))
        for page in objects(source.get("metadata")):
            turn.cite(page.get("source"), first_of(page, "title", "name"))
    error = raw.get("error")
    if error:
        turn.parts["error"] = any_text(error)[:2000] or "unknown"
        if not turn.shown:
            turn.say(f"[error: {values.one_line(any_text(error))[:500]}]")


def _image(url: Any, turn: Turn) -> None:
    """Pictures written into the file (data:…) are not kept: they are larger than all the words."""
    if not isinstance(url, str) or url.startswith("data:"):
        turn.attach(kind="image", name="image")
    else:
        turn.attach(kind="image", url=url[:2000])
