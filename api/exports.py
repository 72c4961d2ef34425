"""GET /api/export: everything you have here, as JSON Lines that can be imported again, with its files in a zip, or as
Markdown to be read."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Any, Literal

import orjson
from litestar import get
from litestar.params import FromQuery, Parameter
from litestar.response import Stream

from api.intake import AnyRequest
from config.errors import NotFound, ProviderRefused
from config.logging import log
from storage import exports, files
from storage.exports import Exported
from storage.filters import ConversationKind, Filters
from storage.tables import Conversation

Format = Literal["jsonl", "zip", "markdown"]
# Media type, and what a browser saves it as.
FORMATS = {
    "jsonl": ("application/x-ndjson", "backchannel.jsonl"),
    "zip": ("application/zip", "backchannel.zip"),
    "markdown": ("application/zip", "backchannel-markdown.zip"),
}
_UNSAFE = re.compile(r"[^\w .,()-]+")


@get("/api/export", tags=["conversations"], summary="All your conversations, as JSON Lines, a zip with files, Markdown")
async def export(
    request: AnyRequest,
    format: Annotated[Format, Parameter(description="jsonl and zip can be imported; markdown: a file for each")] = (
        "jsonl"
    ),
    source: FromQuery[str | None] = None,
    kind: FromQuery[ConversationKind | None] = None,
    files: Annotated[bool, Parameter(description="Whether a zip holds the uploaded files, too")] = True,
) -> Stream:
    media, name = FORMATS[format]
    found = exports.conversations_of(request.user.id, Filters(source=source, kind=kind))
    write = {"jsonl": lambda: _lines(found), "zip": lambda: _zip(found, files), "markdown": lambda: _read(found, files)}
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(write[format](), media_type=media, headers=headers)


def _lines(found: Iterable[Exported]) -> Iterator[bytes]:
    for exported in found:
        yield _line(exported)


def _line(exported: Exported) -> bytes:
    return orjson.dumps(exports.as_json(exported), option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


# --- zips -------------------------------------------------------------------------------------------------------------


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


class _Archive:
    """A zip that is sent while it is written."""

    def __init__(self) -> None:
        self._pipe = _Pipe()
        self._zip = zipfile.ZipFile(self._pipe, "w", zipfile.ZIP_DEFLATED)

    def write(self, name: str, pieces: Iterable[bytes], *, packed: bool = True) -> Iterator[bytes]:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        with self._zip.open(info, "w", force_zip64=True) as entry:
            for piece in pieces:
                entry.write(piece)
                yield self._pipe.taken()
        yield self._pipe.taken()

    def write_file(self, name: str, file_ids: Iterable[str]) -> Iterator[bytes]:
        """The bytes that these files share. Those of no file that can be had are left out, which an import tells."""
        for file_id in file_ids:
            pieces = files.content(file_id)
            try:
                first = next(pieces, b"")
            except (NotFound, ProviderRefused) as error:
                log.warning("a file is left out of an export", file_id=file_id, reason=error.detail)
                continue
            # Not packed: pictures and PDFs are already, and no reader takes them for a bomb.
            yield from self.write(name, chain([first], pieces), packed=False)
            return

    def close(self) -> bytes:
        self._zip.close()
        return self._pipe.taken()


def _zip(found: Iterable[Exported], with_files: bool) -> Iterator[bytes]:
    archive, wanted = _Archive(), dict[str, list[str]]()

    def lines() -> Iterator[bytes]:
        for exported in found:
            for file in exported.files if with_files else ():
                wanted.setdefault(file.digest, []).append(file.id)
            yield _line(exported)

    yield from archive.write("conversations.jsonl", lines())
    for digest, file_ids in wanted.items():
        yield from archive.write_file(f"files/{digest}", file_ids)
    yield archive.close()


def _read(found: Iterable[Exported], with_files: bool) -> Iterator[bytes]:
    archive = _Archive()
    for exported in found:
        conversation = exported.conversation
        listed = exported.files if with_files else []
        paths = {file.id: f"files/{file.id[-12:]} {_plain(file.filename)}" for file in listed}
        text = exports.as_markdown(exported, paths)
        yield from archive.write(_name(conversation), [text.encode()])
        for file_id, path in paths.items():
            yield from archive.write_file(f"{_folder(conversation)}/{path}", [file_id])
    yield archive.close()


def _name(conversation: Conversation) -> str:
    """Readable, different for each, and no path."""
    title = _plain(conversation.title)[:80] or "Untitled"
    return f"{_folder(conversation)}/{conversation.created_at:%Y-%m-%d} {title} {conversation.id[-12:]}.md"


def _folder(conversation: Conversation) -> str:
    """A source is what an import says it is."""
    return _plain(conversation.source)[:80] or "other"


def _plain(text: str) -> str:
    return _UNSAFE.sub(" ", text).strip(" .")
