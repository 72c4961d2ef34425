"""ChatGPT's data export: `conversations.json` alone, or the zip it comes in, whole or in numbered shards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from config.errors import UnreadableImport
from workers.importers.archive import Member, Upload
from workers.importers.chatgpt_conversation import SOURCE, conversation
from workers.importers.json_importer import JsonImporter
from workers.importers.ports import ImportedConversation, ImportFailure

MAX_MANIFEST = 1 << 20  # bytes

# conversations.json, conversations-012.json, and what browsers make of a second download: conversations (1).json
_CONVERSATIONS = re.compile(r"conversations[-_ (]*([0-9]{0,9})\)?\.json", re.IGNORECASE)
_MANIFEST = "export_manifest.json"
_NOT_READ = {"group_chats.json": "group chats"}
_EMPTY_SIZE = 64  # bytes such a file takes at most when there is nothing in it
_UPLOADED = re.compile(r"file[-_]")  # how the export names what people attached, other zips among it


class ChatGPTImporter(JsonImporter):
    source = SOURCE

    def is_mine(self, element: Any) -> bool | None:
        return is_chatgpt(element)

    def convert(self, element: Any) -> ImportedConversation | ImportFailure:
        return conversation(element)

    def contents(self, upload: Upload) -> tuple[list[Member], list[ImportFailure]]:
        return _contents(upload)

    def candidates(self, upload: Upload) -> Iterator[Member]:
        yield from _contents(upload)[0]


def is_chatgpt(element: Any) -> bool | None:
    """None where one conversation cannot tell: it is empty, or damaged."""
    if not isinstance(element, dict):
        return None
    if "chat_messages" in element:  # Claude's
        return False
    mapping = element.get("mapping")
    if not isinstance(mapping, dict):
        return None
    for node in mapping.values():
        message = node.get("message") if isinstance(node, dict) else None
        if not isinstance(message, dict):
            continue
        if "fragments" in message:  # DeepSeek's export has the same outer shape and file name
            return False
        content, author = message.get("content"), message.get("author")
        if (isinstance(content, dict) and "content_type" in content) or (isinstance(author, dict) and "role" in author):
            return True
    return True if "current_node" in element or "create_time" in element else None


# --- which entries of a zip to read, and what is missing among them ---


def _contents(upload: Upload) -> tuple[list[Member], list[ImportFailure]]:
    if not upload.is_zip:
        return upload.members, []
    failures: list[ImportFailure] = []
    named: set[str] = set()
    for manifest in (member for member in upload.members if member.name == _MANIFEST):
        present = {member.path for member in upload.members}
        for path in _shards(upload, manifest, failures):
            named.add(path)
            if path not in present:
                failures.append(ImportFailure(f"{path} is missing from the zip, though {_MANIFEST} lists it"))
    found = [member for member in upload.members if member.path in named or _CONVERSATIONS.fullmatch(member.name)]
    found.sort(key=_shard_order)
    for member in upload.members:
        if member.name in _NOT_READ and member.size > _EMPTY_SIZE:
            failures.append(ImportFailure(f"{member.path} holds {_NOT_READ[member.name]}, which are not read yet"))
        elif member.name.lower().endswith(".zip") and not _UPLOADED.match(member.name):
            failures.append(ImportFailure(f"{member.path} is a zip inside the zip; upload it by itself to read it"))
    return found, failures


def _shard_order(member: Member) -> tuple[str, int, str]:
    number = _CONVERSATIONS.fullmatch(member.name)
    return member.folder, int(number.group(1) or -1) if number else 0, member.name


def _shards(upload: Upload, manifest: Member, failures: list[ImportFailure]) -> list[str]:
    """Paths the manifest lists for conversations.json. Shards are found by name too, so a bad manifest costs little."""
    try:
        document = json.loads(upload.open(manifest).read(MAX_MANIFEST))
        files = document["logical_files"]["conversations.json"]["files"]
    except (UnreadableImport, ValueError, RecursionError):
        failures.append(ImportFailure(f"{manifest.path} cannot be read; whether the export is complete is unknown"))
        return []
    except (KeyError, TypeError):  # a manifest of another shape promises nothing about conversations
        return []
    if not isinstance(files, list):
        return []
    names: list[Any] = [file.get("name") or file.get("path") if isinstance(file, dict) else file for file in files]
    folder = f"{manifest.folder}/" if manifest.folder else ""
    return [folder + name.strip("./") for name in names if isinstance(name, str) and name.strip("./")]
