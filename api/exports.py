"""GET /api/export: everything you have here, as JSON Lines that can be imported again, or as Markdown to be read."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import orjson
from litestar import get
from litestar.params import FromQuery, Parameter
from litestar.response import Stream

from api.intake import AnyRequest
from storage import exports
from storage.filters import ConversationKind, Filters
from storage.tables import Conversation

Format = Literal["jsonl", "markdown"]
MEDIA = {"jsonl": "application/x-ndjson", "markdown": "application/zip"}
_UNSAFE = re.compile(r"[^\w .,()-]+")


@get("/api/export", tags=["conversations"], summary="All your conversations, as JSON Lines or Markdown")
async def export(
    request: AnyRequest,
    format: Annotated[Format, Parameter(description="markdown: a zip with a file for each")] = "jsonl",
    source: FromQuery[str | None] = None,
    kind: FromQuery[ConversationKind | None] = None,
) -> Stream:
    filters = Filters(source=source, kind=kind)
    body = _lines(request.user.id, filters) if format == "jsonl" else _zip(request.user.id, filters)
    name = "backchannel.jsonl" if format == "jsonl" else "backchannel-markdown.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(body, media_type=MEDIA[format], headers=headers)


def _lines(owner_id: str, filters: Filters) -> Iterator[bytes]:
    for conversation, tree in exports.conversations_of(owner_id, filters):
        yield orjson.dumps(exports.as_json(conversation, tree), option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


class _Pipe(io.RawIOBase):
    """A file that is only written: what was written is taken away in between."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data


def _zip(owner_id: str, filters: Filters) -> Iterator[bytes]:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for conversation, tree in exports.conversations_of(owner_id, filters):
            archive.writestr(_name(conversation), exports.as_markdown(conversation, tree))
            yield pipe.taken()
    yield pipe.taken()


def _name(conversation: Conversation) -> str:
    """Readable, different for each, and no path."""
    title = _UNSAFE.sub(" ", conversation.title).strip(" .")[:80] or "Untitled"
    return f"{conversation.source}/{conversation.created_at:%Y-%m-%d} {title} {conversation.id[-12:]}.md"
