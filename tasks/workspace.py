"""Kind `workspace`: the texts of the workspace as conversations, one for each file, to be searched and quoted."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from config.errors import Conflict, Unavailable
from config.logging import log
from config.queues import Kind
from config.settings import get_settings
from storage import conversations, workspace
from storage.database import Session, reading
from storage.workspace import INDEXED, SOURCE, FoundFile
from tasks.base import job
from tasks.embeddings import request_embedding
from tasks.run import JobRun, Outcome

FILES_PER_SLICE = 50
# A file's text is one message after another, each of about this many characters.
PIECE_CHARS = 50_000


@job(Kind.WORKSPACE)
def index(run: JobRun) -> Outcome:
    """{files, created, updated, unchanged, skipped, archived}. A file that has gone leaves its conversation behind,
    archived: something may have been said in it."""
    settings = get_settings()
    if settings.workspace_dir is None:
        raise Conflict("No workspace is set; WORKSPACE_DIR names the folder that may be looked at.")
    root = settings.workspace_dir.expanduser()
    try:
        seen = workspace.look(root, settings)
    except OSError as error:
        raise Unavailable("The workspace cannot be read: there is no such folder, or it is not ours.") from error
    texts = [file for file in seen.files if file.kind in INDEXED]
    counts: Counter[str] = Counter(files=len(texts))
    with reading() as session:
        known = workspace.known(session, run.owner_id)
    for start in range(0, len(texts), FILES_PER_SLICE):
        run.check()
        run.progress(start, len(texts), "files", "indexing")
        _write(run, root, texts[start : start + FILES_PER_SLICE], known, counts)
    if seen.is_complete:
        with run.slice() as session:
            gone = known.keys() - {file.path for file in texts}
            counts["archived"] = workspace.archive(session, run.owner_id, gone)
    run.progress(len(texts), len(texts), "files", "indexing")
    log.info("workspace indexed", **counts)
    return Outcome({name: counts[name] for name in _TOLD} | {"complete": seen.is_complete})


_TOLD = ("files", "created", "updated", "unchanged", "skipped", "archived")


def _write(
    run: JobRun, root: Path, files: list[FoundFile], known: dict[str, dict[str, Any]], counts: Counter[str]
) -> None:
    """Files that look as they did when they were read last are not read again."""
    fresh = [file for file in files if known.get(file.path) != _stamp(file)]
    counts["unchanged"] += len(files) - len(fresh)
    read = [(file, _text(root, file)) for file in fresh]
    with run.slice() as session:
        done = [_upsert(session, run.owner_id, file, text) for file, text in read if text is not None]
        if any(status != "unchanged" for status in done):
            request_embedding(session, run.owner_id)
    counts["skipped"] += len(read) - len(done)
    counts.update(done)


def _text(root: Path, file: FoundFile) -> str | None:
    """None for what is too long, no text, empty, or gone meanwhile."""
    try:
        content = workspace.read(root, file.path, get_settings().workspace_max_file_kb * 1024)
        text = content.decode("utf-8-sig") if content is not None else ""
    except (OSError, UnicodeDecodeError):
        return None
    return text if text.strip() and "\0" not in text else None


def _stamp(file: FoundFile) -> dict[str, Any]:
    return {"size": file.size, "modified_at": file.modified_at.isoformat()}


def _upsert(session: Session, owner_id: str, file: FoundFile, text: str) -> str:
    pieces = list(_pieces(text))
    shown = [_fenced(piece, file.path) for piece in pieces] if file.kind == "code" else pieces
    conversation = {
        "source": SOURCE,
        "native_id": file.path,
        "title": file.path,
        "is_archived": False,
        "extra": _stamp(file),
        "content_hash": hashlib.sha256(f"{file.modified_at}\0{text}".encode()).hexdigest(),
        "created_at": file.modified_at,
        "updated_at": file.modified_at,
    }
    messages = [_message(place, piece, file.modified_at) for place, piece in enumerate(shown)]
    return conversations.upsert(session, owner_id, conversation, messages).status


def _message(place: int, text: str, moment: datetime) -> dict[str, Any]:
    return {
        "native_id": str(place),
        "parent_native_id": str(place - 1) if place else None,
        "position": place,
        "on_path": True,
        "role": "user",
        "author_name": None,
        "content": text,
        "visibility": "visible",
        "model": None,
        "parts": {},
        "created_at": moment,
    }


def _pieces(text: str) -> Iterator[str]:
    """Cut at the ends of lines where there are any."""
    while len(text) > PIECE_CHARS:
        end = text.rfind("\n", 0, PIECE_CHARS) + 1 or PIECE_CHARS
        yield text[:end]
        text = text[end:]
    yield text


def _fenced(text: str, path: str) -> str:
    """As Markdown shows code, whatever fences it holds itself."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{path.rpartition('.')[2] if '.' in path else ''}\n{text.rstrip()}\n{fence}"
