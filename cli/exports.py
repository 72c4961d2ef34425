"""Export files on this side: which of a folder's files are worth sending, and which imports were left unfinished."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.files import write_atomically

SUFFIXES = frozenset({".json", ".jsonl", ".zip", ".html", ".htm", ".mhtml", ".mht", ".db", ".sqlite", ".sqlite3"})
# What lies beside the conversations in an unpacked export and holds none itself.
COMPANIONS = frozenset({
    "chat.html", "conversation_asset_file_names.json", "export_manifest.json", "group_chats.json", "memories.json",
    "message_feedback.json", "model_comparisons.json", "prod-mc-auth-mgmt-api.json", "prod-mc-billing.json",
    "projects", "projects.json", "shared_conversations.json", "shopping.json", "sora.json", "user.json",
    "user_settings.json", "users.json",
})  # fmt: skip
_CONVERSATIONS = re.compile(r"conversations(-\d+)?\.json|prod-grok-backend\.json")
_BESIDE = "part of an unpacked export that holds no conversations"
_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A file to import, or one that is not and `why`; `failed` where somebody should do something about it."""

    path: Path
    why: str | None = None
    failed: bool = False


def find(paths: Iterable[Path]) -> list[Found]:
    """Files as given, folders with all below them, each file once; a file given by name is taken whatever it is."""
    found: dict[Path, Found] = {}
    for path in paths:
        for one in _walk(path) if path.is_dir() else [_given(path)]:
            key = one.path.absolute() if one.why else one.path.resolve()
            if key not in found or found[key].why:
                found[key] = one
    return list(found.values())


def _given(path: Path) -> Found:
    return Found(path) if path.is_file() else Found(path, "This is not a regular file.", failed=True)


def _walk(folder: Path) -> Iterator[Found]:
    unreadable: list[Found] = []

    def refused(error: OSError) -> None:
        unreadable.append(Found(Path(error.filename), f"The folder cannot be read: {error.strerror}.", failed=True))

    for parent, folders, names in os.walk(folder, onerror=refused):
        at = Path(parent)
        beside = COMPANIONS if any(_CONVERSATIONS.fullmatch(name) for name in names) else frozenset()
        left_out = {
            name: "hidden" if _is_hidden(name) else _BESIDE for name in folders if _is_hidden(name) or name in beside
        }
        yield from (Found(at / name, why) for name, why in left_out.items())
        folders[:] = sorted(set(folders) - left_out.keys())
        for name in sorted(names):
            yield Found(at / name, _BESIDE if name in beside else _why_not(at / name, folder))
    yield from unreadable


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _why_not(path: Path, folder: Path) -> str | None:
    if _is_hidden(path.name):
        return "hidden"
    if path.suffix.lower() not in SUFFIXES:
        return "of another kind"
    if not path.is_file():
        return "not a regular file"
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        return "a link that leads out of the folder; given by its name it is imported"
    return None


def digest_of(path: Path, on_bytes: Callable[[int], None]) -> str:
    """SHA-256 of a file; `on_bytes` is told the size of each piece read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_AT_ONCE):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


@dataclass(slots=True)
class Unfinished:
    """An import whose end this user has not seen. `key` and `name` make another upload the same request."""

    key: str
    name: str
    job_id: str | None = None


class Memory:
    """The unfinished imports of one server, a small file each in the user's cache, found again by the file's digest.

    Where nothing can be written an interrupted import is begun anew, which costs time and doubles nothing.
    """

    def __init__(self, server: str) -> None:
        base = os.environ.get("XDG_CACHE_HOME", "")
        cache = Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()
        self._folder = cache / "backchannel" / "imports"
        self._server = server

    def recall(self, digest: str) -> Unfinished | None:
        try:
            kept: dict[str, Any] = json.loads(self._file(digest).read_text())
            return Unfinished(kept["key"], kept["name"], kept["job_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, digest: str, name: str) -> Unfinished:
        entry = Unfinished(f"import-{digest}-{uuid.uuid4().hex[:12]}", name)
        self.keep(digest, entry)
        return entry

    def keep(self, digest: str, entry: Unfinished) -> None:
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._file(digest), json.dumps(asdict(entry)), 0o600)

    def forget(self, digest: str) -> None:
        with suppress(OSError):
            self._file(digest).unlink(missing_ok=True)

    def _file(self, digest: str) -> Path:
        name = hashlib.sha256(f"{self._server}\0{digest}".encode()).hexdigest()
        return self._folder / f"{name}.json"
