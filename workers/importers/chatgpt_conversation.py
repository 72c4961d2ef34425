"""One conversation of a ChatGPT export: its `mapping` of nodes becomes a list of messages, parents before children."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from workers.importers import values
from workers.importers.chatgpt_citations import resolve
from workers.importers.chatgpt_content import Json, Rendered, render
from workers.importers.chatgpt_documents import document
from workers.importers.ports import ImportedConversation, ImportedMessage, ImportFailure, Visibility
from workers.importers.tree import Parents, break_circles, latest_leaf, parents_first
from workers.ports import Role

SOURCE = "chatgpt"

_ROLES: dict[Any, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
_KEPT_METADATA = (
    "gizmo_id",
    "conversation_template_id",
    "default_model_slug",
    "is_starred",
    "is_do_not_remember",
    "memory_scope",
    "voice",
)
_SAFE_IN_URL = re.compile(r"[\w-]+", re.ASCII)


def conversation(raw: Any) -> ImportedConversation | ImportFailure:
    """Every branch of one element of `conversations.json`, or why it is none."""
    if not isinstance(raw, dict):
        return ImportFailure(f"this is {_kind(raw)} where a conversation should be")
    identifier = values.native_id(raw.get("id")) or values.native_id(raw.get("conversation_id"))
    mapping = raw.get("mapping")
    if not isinstance(mapping, dict):
        title = values.title(raw.get("title")) if raw.get("title") else None
        missing = f"its `mapping` is {_kind(mapping)}" if "mapping" in raw else "it has no `mapping`"
        return ImportFailure(f"{missing}: the messages of a ChatGPT conversation would be there", identifier, title)
    notes: Counter[str] = Counter()
    messages, kept_at = _messages(mapping, notes)
    current = raw.get("current_node")
    times = [message.created_at for message in messages if message.created_at]
    models = [message.model for message in messages if message.model]
    default_model = raw.get("default_model_slug")
    return ImportedConversation(
        source=SOURCE,
        native_id=identifier or _made_up_id(raw, messages),
        title=values.title(raw.get("title"), _first_question(messages)),
        messages=messages,
        current_native_id=(kept_at.get(current) if isinstance(current, str) else None) or latest_leaf(messages),
        url=f"https://chatgpt.com/c/{identifier}" if identifier and _SAFE_IN_URL.fullmatch(identifier) else None,
        model=default_model if isinstance(default_model, str) and default_model else (models[-1] if models else None),
        created_at=values.moment(raw.get("create_time")) or min(times, default=None),
        updated_at=values.moment(raw.get("update_time")) or max(times, default=None),
        is_archived=raw.get("is_archived") is True,
        metadata={key: raw[key] for key in _KEPT_METADATA if raw.get(key) is True or values.native_id(raw.get(key))},
        notes=[f"{what} ({count}×)" if count > 1 else what for what, count in notes.items()],
    )


# --- the tree ---


def _messages(mapping: Json, notes: Counter[str]) -> tuple[list[ImportedMessage], dict[str, str | None]]:
    """The messages, and for every node the message it became or, where it held none, the nearest one above it."""
    nodes: dict[str, Json] = {key: node for key, node in mapping.items() if isinstance(node, dict)}
    if len(nodes) < len(mapping):
        notes["a node is not an object and was skipped"] += len(mapping) - len(nodes)
    parents = _parents(nodes, notes)
    messages: list[ImportedMessage] = []
    kept_at: dict[str, str | None] = {}
    for key in parents_first(parents, lambda parent, below: _as_listed(nodes[parent], below)):
        parent = parents[key]
        above = kept_at[parent] if parent is not None else None
        message = _message(key, above, nodes[key].get("message"), notes)
        if message is None:
            kept_at[key] = above
        else:
            kept_at[key] = message.native_id
            messages.append(message)
    if not messages:
        notes["the conversation holds no messages"] += 1
    return messages, kept_at


def _parents(nodes: dict[str, Json], notes: Counter[str]) -> Parents:
    """`parent` decides; `children` lists are often incomplete and serve only for nodes that name no known parent."""
    parents: Parents = {}
    orphans: list[str] = []
    roots = 0
    for key, node in nodes.items():
        parent = node.get("parent")
        known = isinstance(parent, str) and parent in nodes and parent != key
        parents[key] = parent if known else None
        roots += not known
        if not known and parent is not None:
            orphans.append(key)
    if roots > 1:
        for key, node in nodes.items():
            children = node.get("children")
            for child in children if isinstance(children, list) else ():
                if isinstance(child, str) and child != key and child in parents and parents[child] is None:
                    parents[child] = key
    lost = sum(parents[key] is None for key in orphans)
    if lost:
        notes["a message names a parent that is not in the file; it begins a branch of its own"] += lost
    circles = break_circles(parents)
    if circles:
        notes["messages follow each other in a circle, which was cut"] += circles
    return parents


def _as_listed(node: Json, below: list[str]) -> list[str]:
    children = node.get("children")
    if not isinstance(children, list):
        return below
    place = {child: index for index, child in enumerate(children) if isinstance(child, str)}
    return sorted(below, key=lambda child: place.get(child, len(place)))


# --- one message ---


def _message(key: str, parent: str | None, raw: Any, notes: Counter[str]) -> ImportedMessage | None:
    """None for nodes that hold nothing: the root, placeholders, answers stopped before their first word."""
    if not isinstance(raw, dict):
        return None
    metadata = _object(raw.get("metadata"))
    beside = document(raw, metadata)
    rendered, cited = beside or (render(raw.get("content"), metadata), metadata)
    if not rendered.text.strip() and not rendered.attachments and not rendered.unknown:
        return None
    author = _object(raw.get("author"))
    role = "assistant" if beside else _role(author.get("role"), notes)
    if rendered.unknown:
        notes[f"content of the unknown type “{values.title(rendered.unknown)}”: only its text was kept"] += 1
    parts = _extras(raw, rendered)
    text = rendered.text
    if role == "assistant":
        text, sources = resolve(text, cited)
        if sources:
            parts["citations"] = sources
    name, model = author.get("name"), metadata.get("model_slug")
    return ImportedMessage(
        native_id=_node_id(key),
        parent_native_id=parent,
        role=role,
        content=text if text.strip() else _file_names(rendered),
        visibility=_visibility(role, raw, metadata, rendered),
        author_name=name if isinstance(name, str) and name else None,
        model=model if isinstance(model, str) and model and role != "user" else None,
        created_at=values.moment(raw.get("create_time")),
        parts=parts,
    )


def _role(given: Any, notes: Counter[str]) -> Role:
    """Nothing that a person saw may vanish: an author nobody knows is shown as the assistant."""
    known = _ROLES.get(given) if isinstance(given, str) else None
    if known:
        return known
    name = f"with the unknown role “{values.title(given)}”" if isinstance(given, str) and given else "without an author"
    notes[f"a message {name} was taken as the assistant's"] += 1
    return "assistant"


def _visibility(role: Role, raw: Json, metadata: Json, rendered: Rendered) -> Visibility:
    nothing_to_see = not rendered.text.strip() and not rendered.attachments
    if nothing_to_see or metadata.get("is_visually_hidden_from_conversation"):
        return "hidden"
    if rendered.visibility:
        return rendered.visibility
    if role == "system":
        return "visible" if metadata.get("is_user_system_message") else "hidden"
    if role == "tool":  # generated images are a tool's, and are what the person asked for
        return "visible" if any(found.get("kind") == "image" for found in rendered.attachments) else "tool"
    if role == "assistant" and raw.get("recipient") not in (None, "", "all"):
        return "tool"
    return "reasoning" if raw.get("channel") == "analysis" else "visible"


def _extras(raw: Json, rendered: Rendered) -> Json:
    parts: Json = {"content_type": rendered.content_type}
    if rendered.attachments:
        parts["attachments"] = rendered.attachments
    for key, usual in (("recipient", "all"), ("channel", None), ("status", "finished_successfully")):
        value = raw.get(key)
        if value != usual and isinstance(value, str):
            parts[key] = value
    return parts


def _file_names(rendered: Rendered) -> str:
    names = (values.one_line(str(found.get("name") or found.get("id") or "unnamed")) for found in rendered.attachments)
    return "\n".join(f"[file: {name}]" for name in names)


# --- ids and titles ---


def _node_id(key: str) -> str:
    return key if 0 < len(key) <= values.MAX_ID and not key.isspace() else values.digest(key)


def _made_up_id(raw: Json, messages: list[ImportedMessage]) -> str:
    """From what does not change when a conversation grows or is renamed."""
    first = messages[0] if messages else None
    begins = (first.native_id, first.content) if first else (values.scalar(raw.get("title")),)
    return values.digest(SOURCE, values.scalar(raw.get("create_time")), *begins)


def _first_question(messages: list[ImportedMessage]) -> str:
    asked = (message.content for message in messages if message.role == "user" and message.visibility == "visible")
    return next(asked, "")


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "empty"}
    return kinds.get(type(value), "a number")
