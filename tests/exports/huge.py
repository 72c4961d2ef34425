"""Conversations of any length, as every source writes them, pages of share links among these."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from tests.exports import JANUARY_2025, Json, chatgpt_message, chatgpt_node, chatgpt_tree
from tests.exports.big import FORMATS, Said, said, write_big
from tests.exports.local import LLM_THREADS, NO_PARENT, librechat_export, librechat_message
from tests.exports.pages import (
    chatgpt_asked,
    chatgpt_page,
    chatgpt_said,
    claude_asked,
    claude_page,
    claude_said,
    grok_bubble,
    grok_page,
    new_page,
    routed,
    shared_data,
    single_file,
    turbo_stream,
)


def of_texts(id: str, texts: Sequence[str]) -> Json:
    """As `big_conversations` draws them: questions and answers in turn."""
    mapping: Json = {}
    above = None
    for number, text in enumerate(texts):
        key, role = f"{id}-{number}", "assistant" if number % 2 else "user"
        mapping[key] = chatgpt_node(key, above, chatgpt_message(key, role, text, time=JANUARY_2025 + number))
        above = key
    return chatgpt_tree(id, mapping, above, title=f"Conversation {id}")


def write(path: Path, source: str, conversations: Sequence[Json]) -> None:
    """`source`: one of SOURCES. A page holds the first conversation only."""
    if source == "llm, threads":
        _write_threads(path, conversations)
    elif source in _MADE:
        path.write_bytes(_MADE[source](conversations))
    elif source in PAGES:
        path.write_bytes(PAGES[source](list(said(conversations[0]))))
    else:
        write_big(path, source, 1_000_000, conversations=conversations)


def _role(one: Said) -> str:
    return "user" if one.is_question else "assistant"


def _branchprompt(conversations: Sequence[Json]) -> bytes:
    found = []
    for raw in conversations:
        messages = [{"id": one.id, "role": _role(one), "content": one.text} for one in said(raw)]
        found.append({"branchprompt": raw["id"], "title": raw["title"], "messages": messages})
    return json.dumps(found).encode()


def _librechat_tree(conversations: Sequence[Json]) -> bytes:
    """Every answer inside its question; put together here, as json.dumps would recurse."""
    found = []
    for raw in conversations:
        about = json.dumps(librechat_export(raw["id"], [], title=raw["title"], recursive=True))
        messages = [
            librechat_message(
                one.id, one.text, one.parent or NO_PARENT, createdAt=one.iso, isCreatedByUser=one.is_question
            )
            for one in said(raw)
        ]
        opened = "".join(f'{json.dumps(message)[:-1]}, "children": [' for message in messages)
        found.append(about.replace('"messages": []', f'"messages": [{opened}{"]}" * len(messages)}]'))
    return f"[{','.join(found)}]".encode()


def _write_threads(path: Path, conversations: Sequence[Json]) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(LLM_THREADS)
        for raw in conversations:
            messages = list(said(raw))
            connection.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, NULL)", [(one.id, one.parent, _role(one)) for one in messages]
            )
            connection.executemany(
                "INSERT INTO parts VALUES (?, 0, 'text', NULL, ?, NULL)", [(one.id, one.text) for one in messages]
            )
            about = (raw["id"], raw["title"], messages[-1].id)
            connection.execute("INSERT INTO threads VALUES (?, ?, ?, NULL, NULL)", about)


def _shown(page: Callable[..., bytes], asked: Callable[[str], str], answered: Callable[[str], str]) -> _Page:
    return lambda found: page(*[(asked if one.is_question else answered)(one.text) for one in found])


def _with_data(found: list[Said]) -> bytes:
    return new_page(turbo_stream(routed(shared_data([(_role(one), one.text) for one in found]))))


_Page = Callable[[list[Said]], bytes]
_MADE: dict[str, Callable[[Sequence[Json]], bytes]] = {
    "branchprompt": _branchprompt,
    "librechat, a tree": _librechat_tree,
}
PAGES: dict[str, _Page] = {
    "chatgpt, a page": _with_data,
    "chatgpt, as shown": _shown(chatgpt_page, chatgpt_asked, chatgpt_said),
    "claude, a page": _shown(claude_page, claude_asked, claude_said),
    "grok, a page": _shown(grok_page, lambda text: grok_bubble(text, asked=True), grok_bubble),
    "claude, a single file": lambda found: single_file(PAGES["claude, a page"](found)),
}
EXPORTS = (*FORMATS, "llm", "llm, threads", *_MADE)
SOURCES = (*EXPORTS, *PAGES)
