"""Conversations: our own sessions and imported chats alike."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Select, Table, bindparam, delete, exists, func, select, update
from sqlmodel import Session, col

from config.errors import Conflict, NotFound
from storage import answer_cache, endings, gone, imported, model_cache
from storage.filters import NO_FILTERS, Filters, as_list, listed, owned
from storage.fulltext import is_sqlite
from storage.ids import new_id
from storage.project_tables import FileAttachment, ProjectDraft
from storage.tables import Conversation, Message, Summary, utcnow
from storage.titles import in_titles

UNTITLED = "New conversation"
_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]
_messages: Table = Message.__table__  # type: ignore[attr-defined]
_files: Table = FileAttachment.__table__  # type: ignore[attr-defined]
_drafts: Table = ProjectDraft.__table__  # type: ignore[attr-defined]
_summaries: Table = Summary.__table__  # type: ignore[attr-defined]

SortBy = Literal["updated_at", "created_at", "title"]
SortDir = Literal["asc", "desc"]

# Those that come from elsewhere are written there.
upsert = imported.upsert
Upserted = imported.Upserted


def create(session: Session, owner_id: str, title: str = UNTITLED) -> Conversation:
    conversation_id = new_id()
    conversation = Conversation(id=conversation_id, owner_id=owner_id, native_id=conversation_id, title=title)
    session.add(conversation)
    session.flush()
    return conversation


def find(session: Session, conversation_id: str, owner_id: str, *, lock: bool = False) -> Conversation | None:
    """`lock` holds the row until the transaction ends."""
    query = select(Conversation).where(col(Conversation.id) == conversation_id, col(Conversation.owner_id) == owner_id)
    return session.execute(query.with_for_update() if lock else query).scalar_one_or_none()


def get(session: Session, conversation_id: str, owner_id: str, *, lock: bool = False) -> Conversation:
    """Raises NotFound, also for somebody else's."""
    found = find(session, conversation_id, owner_id, lock=lock)
    if found is None:
        raise NotFound(f"There is no conversation {conversation_id[:64]}.")
    return found


def open_for_writing(session: Session, conversation_id: str, owner_id: str) -> Conversation:
    """`get` with the row locked. Raises Conflict when the conversation is locked against new messages."""
    conversation = get(session, conversation_id, owner_id, lock=True)
    if conversation.is_locked:
        raise Conflict("This conversation is locked.")
    return conversation


def page(
    session: Session,
    owner_id: str,
    filters: Filters = NO_FILTERS,
    *,
    limit: int,
    offset: int,
    sort: tuple[SortBy, SortDir] = ("updated_at", "desc"),
) -> tuple[list[Conversation], int]:
    """Most recently changed first unless told otherwise, and how many there are in all."""
    mine = (_conversations.c.owner_id == owner_id, *filters.conditions())
    total = session.execute(select(func.count()).select_from(_conversations).where(*mine)).scalar_one()
    by, direction = sort
    keys = (func.lower(_conversations.c.title) if by == "title" else _conversations.c[by], _conversations.c.id)
    order = [key.desc() if direction == "desc" else key.asc() for key in keys]
    query = select(Conversation).where(*mine).order_by(*order)
    return list(session.execute(query.limit(limit).offset(offset)).scalars()), total


def rename(session: Session, conversation: Conversation, title: str) -> None:
    conversation.title, conversation.title_is_custom = title, True
    session.add(conversation)


def remove(session: Session, conversation_id: str, owner_id: str) -> None:
    """Everything of it, and the talk about its draft. What lies elsewhere is noted to be removed. Raises NotFound."""
    get(session, conversation_id, owner_id)
    talks = select(_conversations.c.id).join(_drafts, _drafts.c.chat_id == _conversations.c.id)
    about_it = (_drafts.c.conversation_id == conversation_id, _conversations.c.owner_id == owner_id)
    ids = [conversation_id, *session.execute(talks.where(*about_it)).scalars()]
    endings.end_those_of(session, owner_id, ids)
    session.execute(select(_conversations.c.id).where(_conversations.c.id.in_(ids)).with_for_update())
    gone.note_vectors_of(session, ids)
    gone.note_objects_of(session, ids)
    session.execute(delete(_conversations).where(_conversations.c.id.in_(ids)))
    model_cache.forget_after_commit(session)
    answer_cache.forget_after_commit(session, owner_id)


def note_attachments(session: Session, conversation_id: str) -> None:
    """Whether it has any: files of its own, or what its messages came with."""
    files = select(exists().where(_files.c.conversation_id == conversation_id))
    parts = select(_messages.c.parts).where(_messages.c.conversation_id == conversation_id)
    has = session.execute(files).scalar_one() or any(
        held.get("attachments") for held in session.execute(parts).scalars().yield_per(1000)
    )
    session.execute(
        update(_conversations).where(_conversations.c.id == conversation_id).values(has_attachments=bool(has))
    )


def touch(session: Session, conversation_id: str) -> None:
    """Messages changed: the index has to follow."""
    session.execute(
        update(_conversations)
        .where(_conversations.c.id == conversation_id)
        .values(updated_at=utcnow(), content_version=_conversations.c.content_version + 1)
    )


def reindex(session: Session, conversation_id: str) -> None:
    """Its draft or its files changed: the index has to follow. A summary speaks of what was said, so one that is up to
    date stays so."""
    version = select(_conversations.c.content_version).where(_conversations.c.id == conversation_id).scalar_subquery()
    fresh = (_summaries.c.conversation_id == conversation_id, _summaries.c.content_version == version)
    session.execute(update(_summaries).where(*fresh).values(content_version=_summaries.c.content_version + 1))
    session.execute(
        update(_conversations)
        .where(_conversations.c.id == conversation_id)
        .values(content_version=_conversations.c.content_version + 1)
    )


def with_url(session: Session, owner_id: str, url: str) -> list[Conversation]:
    """Those that were brought from this address, however its end is written."""
    bare = url.partition("#")[0].partition("?")[0].rstrip("/")
    query = select(Conversation).where(
        col(Conversation.owner_id) == owner_id, col(Conversation.url).in_([url, bare, f"{bare}/"])
    )
    return list(session.execute(query.order_by(col(Conversation.id))).scalars())


def with_identity(session: Session, owner_id: str, source: str, native_id: str) -> Conversation | None:
    query = select(Conversation).where(
        col(Conversation.owner_id) == owner_id,
        col(Conversation.source) == source,
        col(Conversation.native_id) == native_id,
    )
    return session.execute(query).scalar_one_or_none()


def load(
    session: Session, owner_id: str, conversation_ids: Collection[str], filters: Filters
) -> dict[str, Conversation]:
    """Those of these that are this owner's and are not filtered out."""
    query = select(Conversation).where(
        col(Conversation.owner_id) == owner_id, col(Conversation.id).in_(conversation_ids), *filters.conditions()
    )
    return {row.id: row for row in session.execute(query).scalars()}


class Outline(NamedTuple):
    """What a list shows of a conversation: far quicker to load than the whole row."""

    id: str
    title: str
    source: str
    url: str | None
    created_at: datetime
    updated_at: datetime


_OUTLINE = [_conversations.c[name] for name in Outline._fields]


def outlines(session: Session, owner_id: str, conversation_ids: Collection[str], filters: Filters) -> list[Outline]:
    """Of those of these that are this owner's and are not filtered out, in no order."""
    if not conversation_ids:
        return []
    return [Outline(*row) for row in _those_of(session, owner_id, conversation_ids, filters, len(Outline._fields))]


def titles(session: Session, owner_id: str, conversation_ids: Collection[str], filters: Filters) -> dict[str, str]:
    """By id, of those that `outlines` would give."""
    if not conversation_ids:
        return {}
    return {row[0]: row[1] for row in _those_of(session, owner_id, conversation_ids, filters, 2)}


def _those_of(
    session: Session, owner_id: str, conversation_ids: Collection[str], filters: Filters, columns: int
) -> Iterable[Any]:
    """Rows of the first columns of an outline."""
    sqlite = is_sqlite(session)
    query = _listing(filters, columns, sqlite)
    return session.execute(query, {"owner": owner_id, **as_list(conversation_ids, sqlite)})


@functools.lru_cache(maxsize=64)
def _listing(filters: Filters, columns: int, sqlite: bool) -> Select[Any]:
    mine = (listed(_conversations.c.id, sqlite), owned(bindparam("owner")))
    return select(*_OUTLINE[:columns]).where(*mine, *filters.conditions())


def recent_ids(session: Session, owner_id: str, filters: Filters, limit: int) -> list[str]:
    """Most recently changed first."""
    query = select(_conversations.c.id).where(_conversations.c.owner_id == owner_id, *filters.conditions())
    newest = query.order_by(_conversations.c.updated_at.desc(), _conversations.c.id.desc()).limit(limit)
    return list(session.execute(newest).scalars())


def filtered_ids(session: Session, owner_id: str, filters: Filters, limit: int) -> list[str]:
    query = select(_conversations.c.id).where(_conversations.c.owner_id == owner_id, *filters.conditions())
    return list(session.execute(query.limit(limit)).scalars())


class Titled(NamedTuple):
    id: str
    title: str


def match_titles(
    session: Session, owner_id: str, words: Sequence[str], limit: int, filters: Filters = NO_FILTERS
) -> list[Titled]:
    """Conversations whose title holds every word, those that begin with the first one before the others."""
    title = func.lower(_conversations.c.title)
    holds = [title.contains(word.lower(), autoescape=True) for word in words]
    indexed = in_titles(session, words)
    mine = owned(owner_id) if indexed else _conversations.c.owner_id == owner_id
    query = select(_conversations.c.id, _conversations.c.title).where(mine, *indexed, *holds, *filters.conditions())
    prefix = title.startswith(words[0].lower(), autoescape=True)
    query = query.order_by(prefix.desc(), _conversations.c.updated_at.desc(), _conversations.c.id).limit(limit)
    return [Titled(*row) for row in session.execute(query)]


def existing(session: Session, conversation_ids: Collection[str]) -> set[str]:
    """Those that were not deleted meanwhile; they stay until this transaction ends."""
    query = select(_conversations.c.id).where(_conversations.c.id.in_(conversation_ids)).with_for_update(read=True)
    return set(session.execute(query).scalars()) if conversation_ids else set()
