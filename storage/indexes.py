"""Which index serves an owner's searches, what it lacks, and the one that is built beside it to take its place.

    serving ──rebuild or another embedding model──▶ serving + building ──switch──▶ serving + retiring ──▶ serving

An index is named by its embedding model and a generation, "all-MiniLM-L6-v2#2"; its chunks and its vectors' collection
carry the name.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, func, or_, select, update
from sqlmodel import Session, col

from storage.tables import Chunk, Conversation, SearchIndex, utcnow

_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]
_chunks: Table = Chunk.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Target:
    """The index that is written. One that is `new` is seen by nobody until the switch."""

    name: str
    new: bool


def model_of(name: str) -> str:
    return name.rpartition("#")[0]


def serving(session: Session, owner_id: str) -> str | None:
    """The index that answers; None before anything was embedded."""
    return session.execute(select(col(SearchIndex.name)).where(col(SearchIndex.owner_id) == owner_id)).scalar()


def target(session: Session, owner_id: str, model: str, *, rebuild: bool) -> Target:
    """The index to write with this embedding model. A new one is begun when asked for, or when the one that serves was
    made by another model; one begun earlier is gone on with."""
    row = session.get(SearchIndex, owner_id, with_for_update=True)
    if row is None:
        row = SearchIndex(owner_id=owner_id, name=f"{model}#1", built_at=utcnow())
        session.add(row)
        return Target(row.name, new=False)
    is_begun = row.building is not None and model_of(row.building) == model
    if not is_begun and (rebuild or row.building is not None or model_of(row.name) != model):
        generation = max(int(name.rpartition("#")[2]) for name in (row.name, row.building, row.retiring) if name)
        row.retiring = row.building or row.retiring  # of what was begun with yet another model
        row.building = None if model_of(row.name) == model and not rebuild else f"{model}#{generation + 1}"
        session.execute(update(_conversations).where(_conversations.c.owner_id == owner_id).values(rebuilt_version=0))
    return Target(row.building or row.name, new=row.building is not None)


def switch(session: Session, owner_id: str) -> None:
    """The index that was built serves from now on. What changed meanwhile counts as not yet embedded."""
    row = session.get_one(SearchIndex, owner_id, with_for_update=True)
    assert row.building is not None
    session.execute(
        update(_conversations)
        .where(_conversations.c.owner_id == owner_id)
        .values(indexed_version=_conversations.c.rebuilt_version)
    )
    row.name, row.building, row.retiring, row.built_at = row.building, None, row.name, utcnow()


def retiring(session: Session, owner_id: str) -> str | None:
    row = session.get(SearchIndex, owner_id)
    return row.retiring if row else None


def retired(session: Session, owner_id: str, name: str) -> bool:
    """Nothing of the owner's is left in it. True when nobody else's is either: the whole collection can go."""
    row = session.get_one(SearchIndex, owner_id, with_for_update=True)
    if row.retiring == name:
        row.retiring = None
    session.flush()
    named = or_(*(col(column) == name for column in (SearchIndex.name, SearchIndex.building, SearchIndex.retiring)))
    return session.execute(select(col(SearchIndex.owner_id)).where(named).limit(1)).first() is None


def chunk_ids(session: Session, owner_id: str, name: str, limit: int) -> list[str]:
    """Chunks of one index."""
    query = select(_chunks.c.id).join(_conversations, _conversations.c.id == _chunks.c.conversation_id)
    mine = (_conversations.c.owner_id == owner_id, _chunks.c.embedding_model == name)
    return list(session.execute(query.where(*mine).limit(limit)).scalars())


def owners_of_other_models(session: Session, model: str) -> list[str]:
    """Whose index was made by another embedding model than this."""
    rows = session.execute(select(col(SearchIndex.owner_id), col(SearchIndex.name)))
    return [owner_id for owner_id, name in rows if model_of(name) != model]


# --- what an index lacks ----------------------------------------------------------------------------------------------

_stale = _conversations.c.indexed_version < _conversations.c.content_version


def unindexed(session: Session, owner_id: str, index: Target, limit: int) -> list[Conversation]:
    """This owner's conversations whose messages changed since they were embedded."""
    query = select(Conversation).where(_lacks(index), col(Conversation.owner_id) == owner_id)
    return list(session.execute(query.order_by(col(Conversation.id)).limit(limit)).scalars())


def count_unindexed(session: Session, owner_id: str, index: Target) -> int:
    return session.execute(
        select(func.count()).select_from(_conversations).where(_lacks(index), _conversations.c.owner_id == owner_id)
    ).scalar_one()


def owners_unindexed(session: Session) -> list[str]:
    """Who has something to embed, or an index to finish."""
    begun = or_(col(SearchIndex.building).is_not(None), col(SearchIndex.retiring).is_not(None))
    found = select(_conversations.c.owner_id).where(_stale).union(select(col(SearchIndex.owner_id)).where(begun))
    return list(session.execute(found).scalars())


def mark_indexed(session: Session, conversation_id: str, index: Target, version: int) -> None:
    column = "rebuilt_version" if index.new else "indexed_version"
    session.execute(update(_conversations).where(_conversations.c.id == conversation_id).values({column: version}))


def _lacks(index: Target) -> ColumnElement[bool]:
    return _conversations.c.rebuilt_version < _conversations.c.content_version if index.new else _stale
