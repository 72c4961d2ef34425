"""LibreChat's JSON export of a conversation: a list of messages with parents, or a tree of children."""

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
    an_object,
    any_text,
    conversation,
    first_of,
    objects,
    text_or_none,
    unknown,
)

SOURCE = "librechat"

_NO_PARENT = "00000000-0000-0000-0000-000000000000"
_THINKING, _END = ":::thinking\n", "\n:::"  # how a text held reasoning before messages had parts


class LibreChatImporter(JsonImporter):
    source = SOURCE
    marks = ("conversationId",)

    def is_mine(self, element: Any) -> bool | None:
        if not isinstance(element, dict):
            return None
        has_messages = any(isinstance(element.get(key), list) for key in ("messages", "messagesTree"))
        return "conversationId" in element and has_messages

    def convert(self, element: Any) -> ImportedConversation | ImportFailure:
        return librechat_conversation(element)


def librechat_conversation(raw: Any) -> ImportedConversation | ImportFailure:
    if not isinstance(raw, dict):
        return ImportFailure("this is not an object, as a conversation would be")
    identifier = values.native_id(raw.get("conversationId"))
    messages = raw.get("messages") or raw.get("messagesTree")
    if not isinstance(messages, list):
        title = values.title(raw.get("title")) if raw.get("title") else None
        if isinstance(raw.get("messages", raw.get("messagesTree")), list):
            messages = []
        else:
            return ImportFailure("it has no list of `messages`, as a LibreChat conversation would", identifier, title)
    notes: Notes = Counter()
    turns = _flattened(messages, notes)
    options = an_object(raw.get("options"))
    times = [turn.created_at for turn in turns if turn.created_at]
    about = {"endpoint": raw.get("endpoint"), "system": first_of(options, "promptPrefix", "system")}
    head = Head(
        native_id=identifier,
        title=raw.get("title"),
        begun=first_of(raw, "createdAt") or (min(times).isoformat() if times else None),
        changed=first_of(raw, "updatedAt"),  # exportAt would make every export a change
        model=options.get("model"),
        metadata={key: value for key, value in about.items() if isinstance(value, str) and value},
    )
    return conversation(SOURCE, head, turns, notes)


def _flattened(messages: list[Any], notes: Notes) -> list[Turn]:
    """Children may stand inside their parents, to any depth, or beside them."""
    turns: list[Turn] = []
    waiting: list[tuple[Any, str | None]] = [(message, None) for message in reversed(messages)]
    while waiting:
        message, above = waiting.pop()
        if not isinstance(message, dict):
            notes["a message is not an object and was skipped"] += 1
            continue
        turn = _turn(message, above, notes)
        turns.append(turn)
        children = message.get("children")
        if isinstance(children, list):
            waiting += [(child, turn.native_id) for child in reversed(children)]
    return turns


def _turn(raw: Json, above: str | None, notes: Notes) -> Turn:
    parent = values.native_id(raw.get("parentMessageId"))
    if "parentMessageId" not in raw:
        parent = above or PREVIOUS
    from_person = raw.get("isCreatedByUser")
    if not isinstance(from_person, bool):
        from_person = values.scalar(first_of(raw, "role", "sender")).lower() == "user"
    sender = text_or_none(raw.get("sender"))
    turn = Turn(
        native_id=values.native_id(raw.get("messageId")),
        parent=None if parent == _NO_PARENT else parent,
        role="user" if from_person else "assistant",
        author_name=None if from_person else sender,
        model=None if from_person else text_or_none(raw.get("model")),
        created_at=values.moment(first_of(raw, "createdAt", "updatedAt")),
    )
    for part in raw["content"] if isinstance(raw.get("content"), list) else []:
        _part(part, turn, notes)
    if not turn.shown and not turn.asides:
        _say(raw.get("text"), turn)
    for file in [*objects(raw.get("files")), *objects(raw.get("attachments"))]:
        turn.attach(
            id=values.native_id(file.get("file_id")),
            name=file.get("filename"),
            mime_type=file.get("type"),
            size=values.whole(file.get("bytes")),
        )
    for key in ("error", "unfinished"):
        if raw.get(key) is True:
            turn.parts["status"] = key
    return turn


def _say(text: Any, turn: Turn) -> None:
    if isinstance(text, str) and text.startswith(_THINKING) and _END in text:
        thought, _, text = text.removeprefix(_THINKING).partition(_END)
        turn.think(thought)
        text = text.lstrip()
    turn.say(text)


def _part(part: Any, turn: Turn, notes: Notes) -> None:
    if isinstance(part, str):
        turn.say(part)
        return
    if not isinstance(part, dict):
        return
    kind = part.get("type")
    if kind == "text":
        turn.say(any_text(part.get("text")))
    elif kind == "think":
        turn.think(any_text(part.get("think")))
    elif kind == "tool_call":
        called = an_object(part.get("tool_call"))
        function = an_object(called.get("function"))
        name = called.get("name") or function.get("name") or called.get("type")
        turn.call(name, first_of(called, "args", "arguments") or function.get("arguments") or {})
        turn.result(any_text(called.get("output") or function.get("output")), name)
    elif kind in ("image_file", "image_url"):
        image = an_object(part.get(kind))
        url = image.get("url")
        web = url[:2000] if isinstance(url, str) and not url.startswith("data:") else None
        turn.attach(kind="image", id=values.native_id(image.get("file_id")), name=image.get("filename"), url=web)
    elif kind == "error":
        turn.say(f"[error: {values.one_line(any_text(part.get('error')) or any_text(part))[:500]}]")
    else:
        unknown(notes, kind)
        turn.say(any_text(part))
