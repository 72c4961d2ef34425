"""Imported conversations: each written once, however often it comes, and a slice of them in a few statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Table, bindparam, exists, func, literal, or_, select, update
from sqlmodel import Session

from storage import bulk
from storage.ids import new_id
from storage.project_tables import FileAttachment
from storage.tables import Conversation, Message, utcnow

_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]
_messages: Table = Message.__table__  # type: ignore[attr-defined]
_files: Table = FileAttachment.__table__  # type: ignore[attr-defined]

UpsertStatus = Literal["created", "updated", "unchanged", "skipped"]
Columns = dict[str, Any]
LOCKED = "the conversation is locked here, and the file has other messages; unlock it and import again"
OLDER = "the file is older than what is here"
_COMPARED = ("role", "author_name", "content", "visibility", "model", "parts", "position", "on_path", "created_at")


@dataclass(frozen=True, slots=True)
class Upserted:
    """What an import did to one conversation; `messages` counts rows added or changed; `reason`: why it was skipped,
    or that the file is an older one."""

    status: UpsertStatus
    conversation_id: str
    messages: int
    reason: str | None = None


class _Known(NamedTuple):
    """What is here of a conversation that comes."""

    id: str
    content_hash: str | None
    title_is_custom: bool
    is_locked: bool
    source_updated_at: datetime | None


_KNOWN = (
    select(*(_conversations.c[name] for name in ("native_id", *_Known._fields)))
    .where(
        _conversations.c.owner_id == bindparam("owner"),
        _conversations.c.source == bindparam("of_source"),
        _conversations.c.native_id.in_(bindparam("natives", expanding=True)),
    )
    .order_by(_conversations.c.id)  # two imports that lock the same ones wait for each other in the same order
    .with_for_update()
)


def upsert(session: Session, owner_id: str, conversation: Columns, messages: list[Columns]) -> Upserted:
    """Write an imported conversation once, however often it comes.

    `conversation` holds Conversation columns (source, native_id, title, content_hash, …), `messages` Message columns
    with `parent_native_id` in place of `parent_id`, parents before children. What was said here since is kept, and so
    is a title a person gave. Messages the source no longer has stay, off the shown path; so do those that only an older
    file has, and nothing else is taken from that. A locked conversation takes no other messages than it has.
    """
    return upsert_all(session, owner_id, [(conversation, messages)])[0]


def upsert_all(session: Session, owner_id: str, found: Sequence[tuple[Columns, list[Columns]]]) -> list[Upserted]:
    """`upsert` of each, in this order; at most a few thousand. What is not here yet is written together."""
    known = _known(session, owner_id, (conversation for conversation, _ in found))
    done: dict[int, Upserted] = {}
    fresh: list[tuple[Columns, list[Columns]]] = []
    now = utcnow()
    for at, (conversation, messages) in enumerate(found):
        if (identity := _identity(conversation)) not in known:
            row = {"id": new_id(), "owner_id": owner_id, "imported_at": now, **conversation}
            known[identity] = _Known._make(row.get(name) for name in _Known._fields)
            fresh.append((row, messages))
            done[at] = Upserted("created", row["id"], len(messages))
    bulk.insert(session, _conversations, (row for row, _ in fresh))
    bulk.insert(session, _messages, (of_it for row, said in fresh for of_it in _rows(row["id"], said, {})))
    for at, (conversation, messages) in enumerate(found):
        if at not in done:  # here before, or earlier among these
            identity = _identity(conversation)
            here = known[identity]
            done[at] = _update(session, here, conversation, messages)
            if done[at].status == "updated" and not _is_older(conversation, here):
                known[identity] = here._replace(
                    content_hash=conversation["content_hash"],
                    title_is_custom=here.title_is_custom or conversation.get("title_is_custom", False),
                    source_updated_at=conversation.get("source_updated_at") or here.source_updated_at,
                )
    return [done[at] for at in range(len(found))]


def _identity(conversation: Columns) -> tuple[str, str]:
    return conversation["source"], conversation["native_id"]


def _known(session: Session, owner_id: str, conversations: Iterable[Columns]) -> dict[tuple[str, str], _Known]:
    """By identity, and locked until the transaction ends."""
    wanted: dict[str, set[str]] = {}
    for source, native_id in map(_identity, conversations):
        wanted.setdefault(source, set()).add(native_id)
    known: dict[tuple[str, str], _Known] = {}
    for source, natives in sorted(wanted.items()):
        given = {"owner": owner_id, "of_source": source, "natives": list(natives)}
        known |= {(source, row[0]): _Known(*row[1:]) for row in session.execute(_KNOWN, given)}
    return known


def _rows(conversation_id: str, messages: list[Columns], ids: dict[str, str]) -> Iterator[Columns]:
    """`ids` maps native ids to row ids and is extended."""
    for message in messages:
        row = message.copy()
        row["id"] = ids[message["native_id"]] = new_id()
        row["parent_id"] = ids.get(row.pop("parent_native_id") or "")
        row["conversation_id"] = conversation_id
        yield row


def _update(session: Session, known: _Known, conversation: Columns, messages: list[Columns]) -> Upserted:
    if known.content_hash == conversation["content_hash"]:
        return Upserted("unchanged", known.id, 0)
    is_older = _is_older(conversation, known)
    with session.begin_nested() if known.is_locked else nullcontext() as tried:
        changed = (_add_missing if is_older else _merge_messages)(session, known.id, messages)
        if tried is not None and changed:
            tried.rollback()
            return Upserted("skipped", known.id, 0, LOCKED)
    version = _conversations.c.content_version + int(changed > 0)
    if is_older:
        session.execute(update(_conversations).where(_conversations.c.id == known.id).values(content_version=version))
        return Upserted("updated" if changed else "unchanged", known.id, changed, OLDER)
    kept = {"is_locked", "updated_at" if known.is_locked else ""}
    kept |= {"title", "title_is_custom"} if known.title_is_custom else set()
    kept |= set() if conversation.get("source_updated_at") else {"source_updated_at"}
    values = {key: value for key, value in conversation.items() if key not in kept}
    if "has_attachments" in values:  # of what the source knows; files may have been added here
        own = exists().where(_files.c.conversation_id == known.id)
        values["has_attachments"] = or_(literal(bool(values["has_attachments"])), own)
    session.execute(
        update(_conversations).where(_conversations.c.id == known.id).values(**values, content_version=version)
    )
    return Upserted("updated", known.id, changed)


def _is_older(conversation: Columns, known: _Known) -> bool:
    changed, here = conversation.get("source_updated_at"), known.source_updated_at
    return changed is not None and here is not None and changed < here


def _add_missing(session: Session, conversation_id: str, messages: list[Columns]) -> int:
    """Beside the shown path, and behind all that is here, so that parents still come before children."""
    here = (_messages.c.conversation_id == conversation_id,)
    ids = {row.native_id: row.id for row in session.execute(select(_messages.c.native_id, _messages.c.id).where(*here))}
    behind = session.execute(select(func.max(_messages.c.position)).where(*here)).scalar() or 0
    missing = [message for message in messages if message["native_id"] not in ids]
    beside = [message | {"on_path": False, "position": behind + place} for place, message in enumerate(missing, 1)]
    bulk.insert(session, _messages, _rows(conversation_id, beside, ids))
    return len(beside)


def _merge_messages(session: Session, conversation_id: str, messages: list[dict[str, Any]]) -> int:
    columns = [_messages.c.id, _messages.c.native_id, _messages.c.parent_id, *(_messages.c[name] for name in _COMPARED)]
    stored = {
        row.native_id: row
        for row in session.execute(select(*columns).where(_messages.c.conversation_id == conversation_id))
    }
    ids = {native_id: row.id for native_id, row in stored.items()}
    fresh = [message for message in messages if message["native_id"] not in stored]
    bulk.insert(session, _messages, _rows(conversation_id, fresh, ids))

    changes = []
    for message in messages:
        row = stored.get(message["native_id"])
        if row is None:
            continue
        parent_id = ids.get(message["parent_native_id"] or "")
        if row.parent_id != parent_id or any(getattr(row, name) != message[name] for name in _COMPARED):
            changes.append({"row_id": row.id, "parent_id": parent_id, **{name: message[name] for name in _COMPARED}})
    if changes:
        targets: dict[str, Any] = {name: bindparam(name) for name in ("parent_id", *_COMPARED)}
        session.connection().execute(
            update(_messages).where(_messages.c.id == bindparam("row_id")).values(targets), changes
        )

    given = {message["native_id"] for message in messages}
    gone = [
        row.id for native_id, row in stored.items() if native_id not in given and native_id != row.id and row.on_path
    ]
    if gone:
        session.execute(update(_messages).where(_messages.c.id.in_(gone)).values(on_path=False))
    if fresh:  # what was said here stays behind what the source has
        own = (_messages.c.conversation_id == conversation_id, _messages.c.native_id == _messages.c.id)
        session.execute(update(_messages).where(*own).values(position=_messages.c.position + len(fresh)))
    return len(fresh) + len(changes) + len(gone)
