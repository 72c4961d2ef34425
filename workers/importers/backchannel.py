"""Our own export, one conversation per line, as docs/export-format.md has it: read back, it makes the same rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import IO, Any, get_args

from workers.importers import values
from workers.importers.archive import Member, Upload
from workers.importers.belongings import Belongings, ImportedFile, ImportedSummary, ImportedVersion
from workers.importers.json_importer import JsonImporter
from workers.importers.ports import ImportedConversation, ImportedMessage, ImportFailure, ImportItem, Visibility
from workers.importers.turns import an_object, objects, text_or_none
from workers.ports import Role

FORMAT = "backchannel.conversation"
VERSION = 1
FILES = "files"  # the folder of a zip in which an entry is named by its digest

_DIGEST = re.compile(r"[0-9a-f]{64}")

_ROLES: dict[Any, Role] = {role: role for role in get_args(Role)}
_VISIBILITIES: dict[Any, Visibility] = {visibility: visibility for visibility in get_args(Visibility)}
_KEPT = ("title_is_custom", "is_locked")
_COSTS = ("prompt_tokens", "completion_tokens", "response_ms")


class BackchannelImporter(JsonImporter):
    source = "backchannel"
    marks = ("format",)

    def is_mine(self, element: Any) -> bool | None:
        return isinstance(element, dict) and element.get("format") == FORMAT

    def is_usual(self, member: Member) -> bool:
        return member.name.lower().endswith(".jsonl")

    def read(self, file: IO[bytes], start: int = 0) -> Iterator[ImportItem]:
        upload = Upload(file, "")
        kept = {
            member.name: partial(upload.open, member)
            for member in upload.members
            if upload.is_zip and member.folder.rpartition("/")[2] == FILES
        }
        for item in super().read(file, start):
            if isinstance(item.found, ImportedConversation) and item.found.belongings is not None:
                for one in item.found.belongings.files:
                    one.open = kept.get(one.digest)
            yield item

    def convert(self, element: Any) -> ImportedConversation | ImportFailure:
        about, version = an_object(an_object(element).get("conversation")), an_object(element).get("version")
        title, native_id = values.title(about.get("title")), text_or_none(about.get("native_id"))
        if version != VERSION:
            return ImportFailure(f"this line is of version {version} of the format, not {VERSION}", native_id, title)
        if native_id is None or not text_or_none(about.get("source")):
            return ImportFailure("this line names no source or no native_id", native_id, title)
        notes: list[str] = []
        messages = _messages(objects(element.get("messages")), notes)
        shown = [message for message, raw in messages if raw.get("on_path") is True]
        return ImportedConversation(
            source=str(about["source"]),
            native_id=native_id,
            title=title,
            messages=[message for message, _ in messages],
            current_native_id=shown[-1].native_id if shown else None,
            url=text_or_none(about.get("url")),
            model=text_or_none(about.get("model")),
            created_at=values.moment(about.get("created_at")),
            updated_at=values.moment(about.get("updated_at")),
            is_archived=about.get("is_archived") is True,
            metadata=an_object(about.get("metadata")),
            notes=notes,
            columns={
                **{name: about.get(name) is True for name in _KEPT},
                "source_updated_at": values.moment(about.get("source_updated_at")),
            },
            belongings=_belongings(element, notes),
        )


def _belongings(line: dict[str, Any], notes: list[str]) -> Belongings | None:
    draft, talked_of = an_object(line.get("draft")), an_object(line.get("draft_of"))
    source, native_id = text_or_none(talked_of.get("source")), text_or_none(talked_of.get("native_id"))
    found = Belongings(
        [file for raw in objects(line.get("files")) if (file := _file(raw, notes))],
        [version for raw in objects(draft.get("versions")) if (version := _version(raw, notes))],
        text_or_none(draft.get("talk")),
        (source, native_id) if source and native_id else None,
        _summary(an_object(line.get("summary"))),
    )
    return found if found != Belongings() else None


def _file(raw: dict[str, Any], notes: list[str]) -> ImportedFile | None:
    digest, filename = text_or_none(raw.get("digest")), text_or_none(raw.get("filename"))
    if digest is None or filename is None or not _DIGEST.fullmatch(digest):
        notes.append("a file without a usable digest or name was left out")
        return None
    return ImportedFile(
        filename,
        text_or_none(raw.get("file_type")),
        digest,
        values.moment(raw.get("created_at")),
        text_or_none(raw.get("message_native_id")),
        text_or_none(raw.get("summary_text")),
    )


def _version(raw: dict[str, Any], notes: list[str]) -> ImportedVersion | None:
    created_at, description = values.moment(raw.get("created_at")), raw.get("description")
    if created_at is None or not isinstance(description, str):
        notes.append("a version of the draft without a usable time or description was left out")
        return None
    return ImportedVersion(
        values.title(raw.get("title")),
        description,
        raw.get("is_active") is True,
        raw.get("is_manual_edit") is True,
        text_or_none(raw.get("model")),
        created_at,
    )


def _summary(raw: dict[str, Any]) -> ImportedSummary | None:
    text = text_or_none(raw.get("text"))
    if text is None:
        return None
    flags = (raw.get("is_edited") is True, raw.get("is_current") is True)
    times = (values.moment(raw.get("created_at")), values.moment(raw.get("updated_at")))
    return ImportedSummary(text, text_or_none(raw.get("model")), *flags, *times)


def _parts(raw: dict[str, Any]) -> dict[str, Any]:
    """Without the id of its sound: that was one of the house it was said in."""
    parts = an_object(raw.get("parts"))
    voice = parts.get("voice")
    if not isinstance(voice, dict):
        return parts
    return parts | {"voice": {name: value for name, value in voice.items() if name != "file_id"}}


def _messages(raws: list[dict[str, Any]], notes: list[str]) -> list[tuple[ImportedMessage, dict[str, Any]]]:
    """Parents first, as they stand in the file; one that comes before its parent begins a branch."""
    found: dict[str, tuple[ImportedMessage, dict[str, Any]]] = {}
    for raw in raws:
        native_id, role = text_or_none(raw.get("native_id")), _ROLES.get(text_or_none(raw.get("role")))
        if native_id is None or native_id in found or role is None or not isinstance(raw.get("content"), str):
            notes.append("a message without a usable native_id, role or content was left out")
            continue
        parent = text_or_none(raw.get("parent_native_id"))
        found[native_id] = (
            ImportedMessage(
                native_id=native_id,
                parent_native_id=parent if parent in found else None,
                role=role,
                content=raw["content"],
                visibility=_VISIBILITIES.get(text_or_none(raw.get("visibility")), "visible"),
                author_name=text_or_none(raw.get("author_name")),
                model=text_or_none(raw.get("model")),
                created_at=values.moment(raw.get("created_at")),
                parts=_parts(raw),
                columns={
                    **{name: raw[name] if type(raw.get(name)) is int else None for name in _COSTS},
                    "sources": raw["sources"] if isinstance(raw.get("sources"), list) else None,
                },
            ),
            raw,
        )
    return list(found.values())
