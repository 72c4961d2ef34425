"""The content blocks of a Claude message: what it says, thinks, asks of tools and hears from them."""

from __future__ import annotations

from typing import Any

from workers.importers import values
from workers.importers.turns import Json, Notes, Turn, an_object, any_text, first_of, objects, text_or_none, unknown

_IGNORED = ("token_budget",)  # says how much may still be said
_OUTPUTS = "/mnt/user-data/outputs/"  # files written there are shown; elsewhere they are the tools' own


def render(blocks: list[Any], turn: Turn, notes: Notes) -> None:
    """Fill the turn. A block that nobody has described keeps its text and is counted in the notes."""
    for block in blocks:
        if isinstance(block, str):
            turn.say(block)
            continue
        if not isinstance(block, dict):
            continue
        kind = block.get("type")
        if kind == "text":
            turn.say(block.get("text"))
            for citation in objects(block.get("citations")):
                details = an_object(citation.get("details"))
                turn.cite(
                    first_of(details, "url") or citation.get("url"), details.get("title") or citation.get("title")
                )
        elif kind == "thinking":
            turn.think(first_of(block, "thinking", "text") or any_text(block.get("summaries"), "summary"))
        elif kind == "tool_use":
            _tool_use(block.get("name"), block.get("input"), turn)
        elif kind == "tool_call":  # in design chats
            called = an_object(block.get("toolCall"))
            _tool_use(called.get("name"), called.get("input"), turn)
        elif kind == "tool_result":
            failed = {"is_error": True} if block.get("is_error") is True else {}
            turn.result(_result(block.get("content"), turn, notes), block.get("name"), **failed)
        elif kind not in _IGNORED:
            _other(block, turn, notes)


def _other(block: Json, turn: Turn, notes: Notes) -> None:
    kind = block.get("type")
    if kind == "voice_note":
        turn.say(block.get("title"))
        turn.say(block.get("text"))
    elif kind == "image":
        turn.say("[image]")
        turn.attach(kind="image", mime_type=an_object(block.get("source")).get("media_type"))
    elif kind in ("user_interjection", "error"):
        turn.say(any_text(block.get("message")) or any_text(block))
    else:
        unknown(notes, kind)
        turn.say(any_text(block, "thinking"))


def _tool_use(name: Any, given: Any, turn: Turn) -> None:
    """An artifact is part of the answer a person saw; its later changes, and other tools, are not."""
    known = an_object(given)
    shown = _artifact(known) if name == "artifacts" else _file(known) if name == "create_file" else None
    if shown:
        turn.say(shown)
    else:
        turn.call(name, given if given is not None else {})


def _artifact(given: Json) -> str | None:
    content = given.get("content")
    if given.get("command") == "update" or not isinstance(content, str) or not content.strip():
        return None
    title = values.one_line(values.scalar(first_of(given, "title", "id") or "Artifact"))
    kind, language = text_or_none(given.get("type")) or "", text_or_none(given.get("language")) or ""
    if kind == "text/markdown":
        return f"**{title}**\n\n{content}"
    if not language:
        language = {"text/html": "html", "image/svg+xml": "svg", "application/vnd.ant.mermaid": "mermaid"}.get(kind, "")
    if kind == "application/vnd.ant.react":
        language = "jsx"
    return f"**{title}**\n\n{values.fenced(content, language if language.isalnum() else '')}"


def _file(given: Json) -> str | None:
    """What artifacts are since late 2025: a file with a path."""
    path, content = values.scalar(given.get("path")), given.get("file_text")
    if not path.startswith(_OUTPUTS) or not isinstance(content, str) or not content.strip():
        return None
    suffix = path.rpartition("/")[2].rpartition(".")[2]
    title = f"**{values.one_line(path.removeprefix(_OUTPUTS))}**"
    return f"{title}\n\n{content if suffix == 'md' else values.fenced(content, suffix if suffix.isalnum() else '')}"


def _result(content: Any, turn: Turn, notes: Notes) -> str:
    if isinstance(content, str):
        return content
    pieces: list[str] = []
    for item in objects([content] if isinstance(content, dict) else content):
        kind = item.get("type")
        if kind == "text":
            pieces.append(any_text(item))
        elif kind == "knowledge":
            title, url = values.scalar(item.get("title") or ""), values.scalar(item.get("url") or "")
            heading = values.link(title or url, url)
            pieces.append(f"{heading}\n\n{any_text(item)}".strip())
        elif kind == "image":
            pieces.append("[image]")
        elif kind == "local_resource":
            pieces.append(f"[file: {values.one_line(any_text(item, 'name', 'file_path')) or 'unnamed'}]")
        else:
            unknown(notes, kind)
            pieces.append(any_text(item) or values.fenced(values.as_json(item), "json"))
    return "\n\n".join(piece for piece in pieces if piece)
