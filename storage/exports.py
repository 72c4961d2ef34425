"""Everything a person owns, to be taken away: conversations in the order of their ids, each with all that belongs to
it, as docs/export-format.md describes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlmodel import col, select

from storage import messages
from storage.database import Session, reading
from storage.filters import Filters
from storage.project_tables import FileAttachment, ProjectDraft, ProjectDraftVersion
from storage.tables import Conversation, Message, Summary

# One conversation is read at a time, and no transaction is held while it is sent.
_PAGE = 100

_ABOUT = (
    "source", "native_id", "url", "title", "title_is_custom", "model", "is_archived", "is_locked", "created_at",
    "updated_at", "source_updated_at", "imported_at",
)  # fmt: skip
_SAID = (
    "native_id", "on_path", "role", "author_name", "content", "visibility", "model", "parts", "sources",
    "prompt_tokens", "completion_tokens", "response_ms", "created_at",
)  # fmt: skip
_OF_FILES = ("filename", "file_type", "file_size", "digest", "summary_text", "created_at")
_OF_VERSIONS = ("title", "description", "is_manual_edit", "model", "created_at")
_OF_SUMMARIES = ("text", "model", "is_edited", "created_at", "updated_at")


class DraftOf(NamedTuple):
    """The conversation about whose draft another one is the talk."""

    source: str
    native_id: str


@dataclass(slots=True)
class Exported:
    """`versions`: of its draft, in order; `talk`: the native id of the talk about that."""

    conversation: Conversation
    tree: list[Message] = field(default_factory=list)
    files: list[FileAttachment] = field(default_factory=list)
    summary: Summary | None = None
    draft: ProjectDraft | None = None
    versions: list[ProjectDraftVersion] = field(default_factory=list)
    talk: str | None = None
    draft_of: DraftOf | None = None

    @property
    def active(self) -> ProjectDraftVersion | None:
        return next((one for one in self.versions if self.draft and one.id == self.draft.active_version_id), None)


def conversations_of(owner_id: str, filters: Filters) -> Iterator[Exported]:
    """What is added while it is read comes at the end; what is deleted meanwhile is left out."""
    last = ""
    while True:
        with reading() as session:
            query = select(Conversation).where(
                col(Conversation.owner_id) == owner_id, col(Conversation.id) > last, *filters.conditions()
            )
            rows = list(session.exec(query.order_by(col(Conversation.id)).limit(_PAGE)))
            page = {row.id: Exported(row) for row in rows}
            _add_belongings(session, page)
        if not rows:
            return
        for exported in page.values():
            with reading() as session:
                exported.tree = messages.tree(session, exported.conversation.id)
            yield exported
        last = rows[-1].id


def _add_belongings(session: Session, page: dict[str, Exported]) -> None:
    """In a few questions for all of a page: most conversations have none."""
    ids = list(page)
    for file in session.exec(
        select(FileAttachment).where(col(FileAttachment.conversation_id).in_(ids)).order_by(col(FileAttachment.id))
    ):
        page[file.conversation_id or ""].files.append(file)
    for summary in session.exec(select(Summary).where(col(Summary.conversation_id).in_(ids))):
        page[summary.conversation_id].summary = summary
    talk = select(ProjectDraft, Conversation.native_id).outerjoin(
        Conversation, col(Conversation.id) == col(ProjectDraft.chat_id)
    )
    of_draft: dict[str, Exported] = {}
    for draft, native_id in session.exec(talk.where(col(ProjectDraft.conversation_id).in_(ids))):
        of_draft[draft.id] = one = page[draft.conversation_id]
        one.draft, one.talk = draft, native_id
    theirs = select(ProjectDraftVersion).where(col(ProjectDraftVersion.project_draft_id).in_(list(of_draft)))
    for version in session.exec(theirs.order_by(col(ProjectDraftVersion.version_number))):
        of_draft[version.project_draft_id].versions.append(version)
    talked_of = select(ProjectDraft.chat_id, Conversation.source, Conversation.native_id).join(
        Conversation, col(Conversation.id) == col(ProjectDraft.conversation_id)
    )
    for talk_id, source, native_id in session.exec(talked_of.where(col(ProjectDraft.chat_id).in_(ids))):
        page[talk_id or ""].draft_of = DraftOf(source, native_id)


# --- as it is written -------------------------------------------------------------------------------------------------


def as_json(exported: Exported) -> dict[str, Any]:
    """One line of the export."""
    native = {message.id: message.native_id for message in exported.tree}
    return {
        "format": "backchannel.conversation",
        "version": 1,
        "conversation": _values(exported.conversation, _ABOUT) | {"metadata": exported.conversation.extra},
        "messages": [
            _values(message, _SAID) | {"parent_native_id": native.get(message.parent_id) if message.parent_id else None}
            for message in exported.tree
        ],
        **_belongings(exported, native),
    }


def _belongings(exported: Exported, native: dict[str, str]) -> dict[str, Any]:
    """Only those that there are."""
    told: dict[str, Any] = {}
    if exported.files:
        told["files"] = [
            _values(file, _OF_FILES) | {"message_native_id": native.get(file.message_id or "")}
            for file in exported.files
        ]
    if (summary := exported.summary) is not None:
        is_current = summary.content_version >= exported.conversation.content_version
        told["summary"] = _values(summary, _OF_SUMMARIES) | {"is_current": is_current}
    if exported.draft is not None:
        versions = [_values(one, _OF_VERSIONS) | {"is_active": one is exported.active} for one in exported.versions]
        told["draft"] = {"versions": versions, "talk": exported.talk}
    if exported.draft_of is not None:
        told["draft_of"] = exported.draft_of._asdict()
    return told


def _values(row: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def as_markdown(exported: Exported, paths: dict[str, str]) -> str:
    """What was shown, to be read by people. `paths`: of its files, by their ids."""
    conversation = exported.conversation
    about = [f"source: {conversation.source}", f"changed: {conversation.updated_at:%Y-%m-%d %H:%M} UTC"]
    if conversation.url:
        about.append(conversation.url)
    blocks = [f"# {_one_line(conversation.title)}", " · ".join(about)]
    if exported.summary is not None:
        blocks += ["## Summary", exported.summary.text.strip()]
    for message in exported.tree:
        if message.on_path and message.visibility == "visible":
            when = f" · {message.created_at:%Y-%m-%d %H:%M}" if message.created_at else ""
            blocks += [f"## {message.author_name or message.role.capitalize()}{when}", message.content.strip()]
    if (draft := exported.active) is not None:
        blocks += [f"## Project draft: {_one_line(draft.title)}", draft.description.strip()]
    if exported.files:
        blocks += ["## Files", "\n".join(f"- {paths.get(file.id, file.filename)}" for file in exported.files)]
    return "\n\n".join(blocks) + "\n"


def _one_line(title: str) -> str:
    return " ".join(title.split()) or "Untitled"
