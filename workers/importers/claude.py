"""Claude's data export: `conversations.json` alone, or the zip it comes in, design chats among it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any

from workers.importers import values
from workers.importers.archive import Member, Upload
from workers.importers.claude_content import render
from workers.importers.json_importer import JsonImporter
from workers.importers.ports import ImportedConversation, ImportFailure, ImportItem
from workers.importers.turns import (
    PREVIOUS,
    Head,
    Json,
    Notes,
    Turn,
    an_object,
    conversation,
    first_of,
    objects,
    role_of,
)
from workers.ports import Role

SOURCE = "claude"

_CONVERSATIONS = re.compile(r"conversations[-_ (]*[0-9]{0,9}\)?\.json", re.IGNORECASE)
_DESIGNS = "design_chats"
# Knowledge about a person, but nothing that was said: told with the first conversation.
_NO_CONVERSATIONS = ("projects", "memories")
_EMPTY_SIZE = 64  # bytes such a file takes at most when there is nothing in it

_ROLES: dict[str, Role] = {"human": "user", "user": "user", "assistant": "assistant", "system": "system"}
# What a root names as its parent, in the generations that name parents at all.
_NO_PARENT = ("00000000-0000-4000-8000-000000000000", "00000000-0000-0000-0000-000000000000")


class ClaudeImporter(JsonImporter):
    source = SOURCE
    marks = ("chat_messages", "contentBlocks")

    def is_mine(self, element: Any) -> bool | None:
        if not isinstance(element, dict):
            return None
        return "chat_messages" in element or _is_design(element)

    def is_usual(self, member: Member) -> bool:
        is_design = member.folder.rpartition("/")[2] == _DESIGNS
        return is_design or _CONVERSATIONS.fullmatch(member.name) is not None

    def convert(self, element: Any) -> ImportedConversation | ImportFailure:
        return claude_conversation(element)

    def read(self, file: IO[bytes], start: int = 0) -> Iterator[ImportItem]:
        note = _left_out(Upload(file, ""))
        for item in super().read(file, start):
            if note and item.index == 0 and isinstance(item.found, ImportedConversation):
                item.found.notes.append(note)
            yield item


def claude_conversation(raw: Any) -> ImportedConversation | ImportFailure:
    if not isinstance(raw, dict):
        return ImportFailure("this is not an object, as a conversation would be")
    identifier = values.native_id(first_of(raw, "uuid", "conversation_uuid"))
    name = first_of(raw, "name", "title", "snapshot_name")
    messages = raw.get("chat_messages", raw.get("messages"))
    if not isinstance(messages, list):
        title = values.title(name) if name else None
        return ImportFailure("it has no list of `chat_messages`, as a Claude conversation would", identifier, title)
    notes: Notes = Counter()
    design = "chat_messages" not in raw
    turns = _turns(messages, _design_turn if design else _turn, notes)
    project = an_object(raw.get("project"))
    about = {"summary": raw.get("summary"), "project": project.get("name"), "project_id": project.get("uuid")}
    head = Head(
        native_id=identifier,
        title=name,
        begun=raw.get("created_at"),
        changed=raw.get("updated_at"),
        url=_url(identifier, shared="snapshot_name" in raw) if identifier and not design else None,
        model=raw.get("model"),
        metadata={key: value for key, value in about.items() if isinstance(value, str) and value}
        | {key: True for key in ("is_starred", "is_temporary") if raw.get(key) is True}
        | ({"kind": "design"} if design else {}),
    )
    return conversation(SOURCE, head, turns, notes)


def _turns(messages: list[Any], make: Callable[[Json, Notes], Turn], notes: Notes) -> list[Turn]:
    found = objects(messages)
    if len(found) < len(messages):
        notes["a message is not an object and was skipped"] += len(messages) - len(found)
    if all(isinstance(message.get("index"), int) for message in found):
        found.sort(key=lambda message: int(message["index"]))
    return [make(message, notes) for message in found]


def _turn(raw: Json, notes: Notes) -> Turn:
    parent = raw.get("parent_message_uuid", PREVIOUS)
    turn = Turn(
        native_id=values.native_id(raw.get("uuid")),
        parent=PREVIOUS if parent == PREVIOUS else None if parent in _NO_PARENT else values.native_id(parent),
        role=role_of(first_of(raw, "sender", "role"), _ROLES, notes),
        created_at=values.moment(raw.get("created_at")),
    )
    content = raw.get("content")
    render(content if isinstance(content, list) else [content], turn, notes)
    if not turn.shown and not turn.asides:
        turn.say(raw.get("text"))
    for attachment in objects(raw.get("attachments")):
        _attach(turn, attachment, attachment.get("extracted_content"))
    for file in [*objects(raw.get("files")), *objects(raw.get("files_v2"))]:
        turn.attach(id=values.native_id(file.get("file_uuid")), name=file.get("file_name"), kind=file.get("file_kind"))
    return turn


def _attach(turn: Turn, attachment: Json, text: Any) -> None:
    """The file itself is not in the export; the text that was found in it is."""
    name = first_of(attachment, "file_name", "name")
    turn.attach(
        id=values.native_id(attachment.get("id")),
        name=name,
        mime_type=attachment.get("file_type"),
        size=values.whole(attachment.get("file_size")),
    )
    if isinstance(text, str) and text.strip():
        label = values.one_line(name) if isinstance(name, str) else "unnamed"
        turn.say(f"[file: {label}]\n\n{values.fenced(text)}")


# --- design chats: the same blocks, wrapped in another way ---


def _is_design(element: Json) -> bool:
    contents = (an_object(message.get("content")) for message in objects(element.get("messages"))[:20])
    return "uuid" in element and any(
        "contentBlocks" in content or "authorAccountUuid" in content for content in contents
    )


def _design_turn(raw: Json, notes: Notes) -> Turn:
    content = an_object(raw.get("content"))
    turn = Turn(
        native_id=values.native_id(raw.get("uuid")),
        parent=PREVIOUS,
        role=role_of(first_of(raw, "role", "sender"), _ROLES, notes),
        created_at=values.moment(first_of(raw, "created_at") or content.get("timestamp")),
    )
    blocks = content.get("contentBlocks")
    if isinstance(blocks, list) and blocks:
        render(blocks, turn, notes)
    else:
        turn.say(content.get("content") or raw.get("content"))
    for attachment in objects(content.get("attachments")):
        _attach(turn, attachment, attachment.get("content"))
    return turn


def _left_out(upload: Upload) -> str | None:
    """`projects.json` or `projects/….json`, likewise memories."""
    if not upload.is_zip:
        return None
    found = [
        name
        for name in _NO_CONVERSATIONS
        if any(
            member.size > _EMPTY_SIZE and (member.name == f"{name}.json" or member.folder.rpartition("/")[2] == name)
            for member in upload.members
        )
    ]
    return (
        f"the export also holds {' and '.join(found)}, which are no conversations and were left out" if found else None
    )


def _url(identifier: str, *, shared: bool) -> str | None:
    if not re.fullmatch(r"[0-9a-fA-F-]{36}", identifier):
        return None
    return f"https://claude.ai/{'share' if shared else 'chat'}/{identifier}"
