"""From what a source calls one message to ours, and from messages in any order to a tree.

A source's message may hold an answer, the reasoning before it and the tools it called. Each of those becomes a message
of its own, one below the other; the last of them keeps the source's id, so that replies still hang where they hung.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workers.importers import values
from workers.importers.ports import ImportedConversation, ImportedMessage, Visibility
from workers.importers.tree import Parents, break_circles, latest_leaf, parents_first
from workers.ports import Role

Json = dict[str, Any]
Notes = Counter[str]

# A `parent` for sources, or generations of them, that write messages down in a row. No id of a file can hold NUL.
PREVIOUS = "\0previous"
_USUAL_KEYS = ("text", "content", "value", "output", "summary", "message", "title")


@dataclass(slots=True)
class Aside:
    """Something a message holds beside what is shown."""

    content: str
    visibility: Visibility
    role: Role = "assistant"
    author_name: str | None = None
    parts: Json = field(default_factory=dict)


@dataclass(slots=True)
class Turn:
    """One message as its source has it. `shown` pieces are joined by blank lines."""

    native_id: str | None
    parent: str | None
    role: Role
    shown: list[str] = field(default_factory=list)
    asides: list[Aside] = field(default_factory=list)
    visibility: Visibility = "visible"
    author_name: str | None = None
    model: str | None = None
    created_at: datetime | None = None
    attachments: list[Json] = field(default_factory=list)
    citations: list[Json] = field(default_factory=list)
    parts: Json = field(default_factory=dict)

    def say(self, text: Any) -> None:
        if isinstance(text, str) and text.strip():
            self.shown.append(text)

    def think(self, text: Any) -> None:
        if isinstance(text, str) and text.strip():
            self.asides.append(Aside(text, "reasoning"))

    def call(self, name: Any, arguments: Any) -> None:
        self.asides.append(
            Aside(values.fenced(values.as_json(arguments), "json"), "tool", author_name=text_or_none(name))
        )

    def result(self, text: str, name: Any = None, **parts: Any) -> None:
        if text.strip():
            self.asides.append(Aside(text, "tool", "tool", text_or_none(name), parts))

    def cite(self, url: Any, title: Any = None) -> None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            return
        if all(known["url"] != url for known in self.citations):
            name = values.one_line(title) if isinstance(title, str) else ""
            self.citations.append({"title": name or url, "url": url})

    def attach(self, **known: Any) -> None:
        """Whatever is known of a file: name, id, mime_type, size in bytes, kind (image, audio), url."""
        found = {key: value for key, value in known.items() if isinstance(value, str | int) and value != ""}
        if found:
            self.attachments.append(found)

    @property
    def content(self) -> str:
        return self.shown[0] if len(self.shown) == 1 else "\n\n".join(self.shown)


@dataclass(slots=True)
class Head:
    """What a source says of a conversation as a whole. `begun` and `changed` are times as it writes them; `current` is
    the id of the last message shown, where it says so."""

    native_id: str | None
    title: Any
    begun: Any = None
    changed: Any = None
    current: Any = None
    url: str | None = None
    model: Any = None
    is_archived: bool = False
    metadata: Json = field(default_factory=dict)


def conversation(source: str, head: Head, turns: list[Turn], notes: Notes) -> ImportedConversation:
    """An id the source does not give is made from what stays the same when a conversation grows or is renamed."""
    messages, kept_at = assemble(turns, notes)
    if not messages:
        notes["the conversation holds no messages"] += 1
    times = [message.created_at for message in messages if message.created_at]
    models = [message.model for message in messages if message.model]
    asked = (message.content for message in messages if message.role == "user" and message.visibility == "visible")
    first = (messages[0].role, messages[0].content) if messages else (values.scalar(head.title),)
    current = kept_at.get(head.current) if isinstance(head.current, str) else None
    return ImportedConversation(
        source=source,
        native_id=head.native_id or values.digest(source, values.scalar(head.begun), *first),
        title=values.title(head.title, next(asked, "")),
        messages=messages,
        current_native_id=current or latest_leaf(messages),
        url=head.url,
        model=text_or_none(head.model) or (models[-1] if models else None),
        created_at=values.moment(head.begun) or min(times, default=None),
        updated_at=values.moment(head.changed) or max(times, default=None),
        is_archived=head.is_archived,
        metadata=head.metadata,
        notes=[f"{what} ({count}×)" if count > 1 else what for what, count in notes.items()],
    )


def assemble(turns: Iterable[Turn], notes: Notes) -> tuple[list[ImportedMessage], dict[str, str | None]]:
    """The messages, parents first; and for every turn's id the message it became or, where it held nothing, the
    nearest one above it."""
    known = _named(turns, notes)
    parents = _parents(known, notes)
    messages: list[ImportedMessage] = []
    kept_at: dict[str, str | None] = {}
    for key in parents_first(parents, lambda _, children: children):
        parent = parents[key]
        above = kept_at[parent] if parent is not None else None
        turn = known[key]
        if turn.asides or turn.attachments or turn.citations:
            below = list(_messages(key, above, turn))
            messages += below
            kept_at[key] = below[-1].native_id if below else above
        elif content := turn.content:
            messages.append(_message(key, above, turn, content))
            kept_at[key] = key
        else:
            kept_at[key] = above
    return messages, kept_at


def _named(turns: Iterable[Turn], notes: Notes) -> dict[str, Turn]:
    """Every turn under an id of its own, its `parent` an id or None."""
    known: dict[str, Turn] = {}
    previous: str | None = None
    for turn in turns:
        if turn.parent == PREVIOUS:
            turn.parent = previous
        key = turn.native_id or values.digest(*_identity(turn))
        if key in known:
            if turn.native_id and known[key].content == turn.content:
                notes["a message stands there twice and was taken once"] += 1
                previous = key
                continue
            if turn.native_id:
                notes["two messages have the same id; the second got another"] += 1
            key = _unused(known, key, _identity(turn))
        known[key] = turn
        previous = key
    return known


def _identity(turn: Turn) -> tuple[str, ...]:
    return turn.parent or "", turn.role, turn.content, str(turn.created_at)


def _unused(known: dict[str, Turn], key: str, identity: tuple[str, ...]) -> str:
    number = 0
    while key in known:
        number += 1
        key = values.digest(*identity, str(number))
    return key


def _parents(known: dict[str, Turn], notes: Notes) -> Parents:
    parents: Parents = {}
    for key, turn in known.items():
        found = turn.parent in known and turn.parent != key
        parents[key] = turn.parent if found else None
        if turn.parent is not None and not found:
            notes["a message names a parent that is not in the file; it begins a branch of its own"] += 1
    circles = break_circles(parents)
    if circles:
        notes["messages follow each other in a circle, which was cut"] += circles
    return parents


def _message(key: str, above: str | None, turn: Turn, content: str) -> ImportedMessage:
    """What is shown of a turn."""
    return ImportedMessage(
        key,
        above,
        turn.role,
        content,
        turn.visibility,
        turn.author_name,
        turn.model,
        turn.created_at,
        _parts(turn) if turn.parts or turn.attachments or turn.citations else {},
    )


def _messages(key: str, above: str | None, turn: Turn) -> Iterable[ImportedMessage]:
    """None at all for a turn that holds nothing: a placeholder, an answer stopped before its first word."""
    asides: list[Aside | None] = [*turn.asides]
    content = _with_sources(turn)
    if content or turn.attachments:
        asides.append(None)
    for number, aside in enumerate(asides, 1):
        native_id = key if number == len(asides) else f"{key}~{number}"
        if aside is None:
            yield _message(native_id, above, turn, content or file_names(turn.attachments))
        else:
            yield ImportedMessage(
                native_id,
                above,
                aside.role,
                aside.content,
                aside.visibility,
                aside.author_name,
                turn.model,
                turn.created_at,
                aside.parts,
            )
        above = native_id


def _with_sources(turn: Turn) -> str:
    content = turn.content
    if not content.strip() or not turn.citations:
        return content if content.strip() else ""
    listed = "\n".join(f"- {values.link(source['title'], source['url'])}" for source in turn.citations)
    return f"{content.rstrip()}\n\nSources:\n{listed}"


def _parts(turn: Turn) -> Json:
    parts = dict(turn.parts)
    if turn.attachments:
        parts["attachments"] = turn.attachments
    if turn.citations:
        parts["citations"] = turn.citations
    return parts


# --- small things every source needs ---


def file_names(attachments: list[Json]) -> str:
    named = (values.one_line(str(found.get("name") or found.get("id") or "unnamed")) for found in attachments)
    return "\n".join(f"[file: {name}]" for name in named)


def text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def an_object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def first_of(raw: Json, *keys: str) -> Any:
    """The first of these that holds anything."""
    for key in keys:
        if key in raw and (value := raw[key]) is not None and value != "":
            return value
    return None


def any_text(value: Any, *keys: str) -> str:
    """The text in something nobody has described: itself, what stands under the usual keys, or all of its items."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n\n".join(text for item in value if (text := item if isinstance(item, str) else _text_in(item, keys)))
    return _text_in(value, keys)


def _text_in(value: Any, keys: tuple[str, ...]) -> str:
    if not isinstance(value, dict):
        return ""
    for key in (*keys, *_USUAL_KEYS):
        text = value.get(key)
        if text and isinstance(text, str):
            return text
    return ""


def role_of(given: Any, roles: dict[str, Role], notes: Notes) -> Role:
    """Nothing that a person saw may vanish: an author nobody knows is shown as the assistant."""
    known = roles.get(given.lower()) if isinstance(given, str) else None
    if known:
        return known
    named = isinstance(given, str) and given
    who = f"with the unknown role “{values.title(given)}”" if named else "without an author"
    notes[f"a message {who} was taken as the assistant's"] += 1
    return "assistant"


def unknown(notes: Notes, kind: Any) -> None:
    notes[f"content of the unknown type “{values.title(kind)}”: only its text was kept"] += 1
