"""Big exports of every source, from a seed: the conversations of `big_conversations`, as each of them writes them."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.exports import Json, big_conversations
from tests.exports.claude import ROOT, claude_conversation, claude_message
from tests.exports.gemini import gemini_cell, gemini_page, of_thread
from tests.exports.grok import grok_conversation
from tests.exports.local import LLM_TABLES, librechat_export, librechat_message, webui_chat, webui_message


class Said(NamedTuple):
    id: str
    parent: str | None  # the message before it
    is_question: bool
    text: str
    time: float

    @property
    def iso(self) -> str:
        return datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_big(
    path: Path, source: str, megabytes: float, seed: int = 0, conversations: Iterable[Json] | None = None
) -> int:
    """Write a file of about that size (10**6 bytes each); returns how many conversations it holds. `conversations`:
    already drawn, as ChatGPT has them."""
    size = int(megabytes * 1_000_000)
    drawn = big_conversations(seed) if conversations is None else conversations
    if source == "llm":
        return _write_llm(path, size, drawn)
    make, begins, between, ends = FORMATS[source]
    count = 0
    with path.open("wb") as file:
        written = file.write(begins)
        for raw in drawn:
            written += file.write((between if count else b"") + make(raw))
            count += 1
            if written >= size:
                break
        file.write(ends)
    return count


def said(raw: Json) -> Iterator[Said]:
    """What was said in a conversation of `big_conversations`."""
    previous = None
    for key, node in raw["mapping"].items():
        message = node["message"]
        if message and message["author"]["role"] != "system":
            text, is_question = message["content"]["parts"][0], message["author"]["role"] == "user"
            yield Said(key, previous, is_question, text, message["create_time"])
            previous = key


def _claude(raw: Json) -> Json:
    messages = [
        claude_message(
            one.id, "human" if one.is_question else "assistant", one.text,
            created_at=one.iso, updated_at=one.iso, parent_message_uuid=one.parent or ROOT,
        )
        for one in said(raw)
    ]  # fmt: skip
    return claude_conversation(raw["id"], raw["title"], messages)


def _grok(raw: Json) -> Json:
    responses = []
    for one in said(raw):
        response: Json = {
            "_id": one.id,
            "conversation_id": raw["id"],
            "message": one.text,
            "sender": "human" if one.is_question else "ASSISTANT",
            "create_time": {"$date": {"$numberLong": str(int(one.time * 1000))}},
            "model": "grok-4",
            "metadata": {},
        }
        response |= {"parent_response_id": one.parent} if one.parent else {}
        responses.append({"response": response, "share_link": None})
    return grok_conversation(raw["id"], raw["title"], responses)


def _webui(raw: Json) -> Json:
    messages = []
    for one in said(raw):
        more = {} if one.is_question else {"model": "llama3.2"}
        role = "user" if one.is_question else "assistant"
        messages.append(webui_message(one.id, role, one.text, one.parent, int(one.time), **more))
    return webui_chat(raw["id"], messages, messages[-1]["id"] if messages else None, title=raw["title"])


def _librechat(raw: Json) -> Json:
    messages = []
    for one in said(raw):
        more = {} if one.is_question else {"model": "gpt-4o", "isCreatedByUser": False}
        above = {"parent": one.parent} if one.parent else {}
        messages.append(librechat_message(one.id, one.text, **above, createdAt=one.iso, **more))
    return librechat_export(raw["id"], messages, title=raw["title"])


def _deepseek(raw: Json) -> Json:
    mapping: Json = {"root": {"id": "root", "parent": None, "children": [], "message": None}}
    for one in said(raw):
        kind = "REQUEST" if one.is_question else "RESPONSE"
        message = {
            "files": [],
            "model": "deepseek-chat",
            "inserted_at": one.iso,
            "fragments": [{"type": kind, "content": one.text}],
        }
        mapping[one.id] = {"id": one.id, "parent": one.parent or "root", "children": [], "message": message}
    begun = {key: datetime.fromtimestamp(raw["create_time"], UTC).isoformat() for key in ("inserted_at", "updated_at")}
    return {"id": raw["id"], "title": raw["title"], **begun, "mapping": mapping}


def _backchannel(raw: Json) -> Json:
    messages = [
        {
            "native_id": one.id,
            "parent_native_id": one.parent,
            "on_path": True,
            "role": "user" if one.is_question else "assistant",
            "content": one.text,
            "visibility": "visible",
            "author_name": None,
            "model": None if one.is_question else "gpt-4o",
            "created_at": one.iso,
            "parts": {},
            "sources": None,
            "prompt_tokens": None,
            "completion_tokens": None,
            "response_ms": None,
        }
        for one in said(raw)
    ]
    about = {"source": "chatgpt", "native_id": raw["id"], "title": raw["title"], "url": None, "model": "gpt-4o"}
    return {"format": "backchannel.conversation", "version": 1, "conversation": about, "messages": messages}


# --- Gemini: a record for a question and its answer ---

_FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def _rounds(raw: Json) -> Iterator[tuple[Said, str]]:
    """The newest first. Questions, each with its answer in HTML."""
    found = list(said(raw))
    for asked, answered in reversed(list(zip(found[::2], found[1::2], strict=False))):
        yield asked, as_html(answered.text)


def as_html(text: str) -> str:
    pieces: list[str] = []
    for number, piece in enumerate(_FENCE.split(text)):
        if number % 3 == 1:
            pieces.append(f'<pre><code class="language-{piece}">')
        elif number % 3 == 2:
            pieces.append(f"{html.escape(piece)}</code></pre>")
        else:
            pieces += [_paragraph(lines) for lines in piece.split("\n\n") if lines.strip()]
    return "".join(pieces)


def _paragraph(lines: str) -> str:
    first, *items = html.escape(lines).split("\n- ")
    listed = "".join(f"<li>{item}</li>" for item in items)
    words = first.split(" ", 2)
    bold = f"<strong>{words[0]}</strong> {' '.join(words[1:])}"
    return f"<p>{bold}</p>" + (f"<ul>{listed}</ul>" if listed else "")


def _thread(raw: Json) -> str:
    return str(raw["id"]).replace("-", "")[:16]


def _gemini(raw: Json) -> bytes:
    """Indented, and with what HTML is made of escaped, as Takeout writes it."""
    records = [
        {
            "header": "Gemini Apps",
            "title": f"Prompted {asked.text}",
            "time": asked.iso,
            "products": ["Gemini Apps"],
            "activityControls": ["Gemini Apps Activity"],
            "safeHtmlItem": [{"html": answer}],
            **of_thread(_thread(raw)),
        }
        for asked, answer in _rounds(raw)
    ]
    text = json.dumps(records, indent=2, ensure_ascii=False)[1:-2]
    return text.translate(_ESCAPED).encode()


_ESCAPED = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&='"}


def _gemini_page(raw: Json) -> bytes:
    link = f'<a href="https://gemini.google.com/app/{_thread(raw)}">link</a>'
    cells = []
    for asked, answer in _rounds(raw):
        date = f"{datetime.fromtimestamp(asked.time, UTC):%b %d, %Y, %I:%M:%S %p} UTC"
        cells.append(gemini_cell(f"Prompted&nbsp;{html.escape(asked.text)}", answer, date, caption=link))
    return "".join(cells).encode()


def _write_llm(path: Path, size: int, drawn: Iterable[Json]) -> int:
    path.unlink(missing_ok=True)
    count = written = 0
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(LLM_TABLES)
        for raw in drawn:
            connection.execute("INSERT INTO conversations VALUES (?, ?, ?)", (raw["id"], raw["title"], "gpt-4o"))
            found = list(said(raw))
            for asked, answered in zip(found[::2], found[1::2], strict=False):
                connection.execute(
                    "INSERT INTO responses (id, model, prompt, response, conversation_id, datetime_utc) "
                    "VALUES (?, 'gpt-4o', ?, ?, ?, ?)",
                    (asked.id, asked.text, answered.text, raw["id"], asked.iso),
                )
                written += len(asked.text) + len(answered.text) + 150
            count += 1
            if written >= size:
                break
    return count


def _listed(make: Callable[[Json], Any]) -> tuple[Callable[[Json], bytes], bytes, bytes, bytes]:
    return lambda raw: json.dumps(make(raw)).encode(), b"[", b", ", b"]"


_PAGE_BEGINS, _PAGE_ENDS = gemini_page("\0").split(b"\0")
# How a conversation is written, and what stands before, between and after all of them.
FORMATS: dict[str, tuple[Callable[[Json], bytes], bytes, bytes, bytes]] = {
    "chatgpt": _listed(lambda raw: raw),
    "claude": _listed(_claude),
    "grok": (_listed(_grok)[0], b'{"conversations": [', b", ", b'], "projects": []}'),
    "gemini": (_gemini, b"[", b",", b"]"),
    "gemini, as a page": (_gemini_page, _PAGE_BEGINS, b"", _PAGE_ENDS),
    "open-webui": _listed(_webui),
    "librechat": _listed(_librechat),
    "deepseek": _listed(_deepseek),
    "backchannel": (lambda raw: json.dumps(_backchannel(raw)).encode(), b"", b"\n", b"\n"),
}
