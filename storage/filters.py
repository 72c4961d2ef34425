"""What a listing or a search of conversations is narrowed to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import ARRAY, ColumnElement, String, Table, bindparam, cast, func, not_, or_, select

from storage.tables import Conversation

_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]
OWN_SOURCE = "backchannel"
Status = Literal["active", "archived", "locked"]
ConversationKind = Literal["imported", "own"]


@dataclass(frozen=True, slots=True)
class Filters:
    """`since` and `until` bound the last change, aware UTC, until excluded; `begun_before` bounds the beginning."""

    source: str | None = None
    status: Status | None = None
    kind: ConversationKind | None = None
    since: datetime | None = None
    until: datetime | None = None
    has_attachment: bool | None = None
    begun_before: datetime | None = None

    @property
    def is_empty(self) -> bool:
        return self == NO_FILTERS

    def conditions(self) -> list[ColumnElement[bool]]:
        """For a statement over conversations."""
        of = _conversations.c
        found: list[ColumnElement[bool]] = []
        if self.source is not None:
            found.append(of.source == self.source)
        if self.status is not None:
            either = {
                "archived": of.is_archived,
                "locked": of.is_locked,
                "active": not_(or_(of.is_archived, of.is_locked)),
            }
            found.append(either[self.status])
        if self.kind is not None:
            found.append(of.source == OWN_SOURCE if self.kind == "own" else of.source != OWN_SOURCE)
        if self.since is not None:
            found.append(of.updated_at >= self.since)
        if self.until is not None:
            found.append(of.updated_at < self.until)
        if self.begun_before is not None:
            found.append(of.created_at < self.begun_before)
        if self.has_attachment is not None:
            found.append(of.has_attachments.is_(self.has_attachment))
        return found


NO_FILTERS = Filters()


def owned(owner_id: str | ColumnElement[str]) -> ColumnElement[bool]:
    """For rows that are known by their ids: SQLite would rather go through all that the owner has, by the index of
    owners."""
    return _conversations.c.owner_id.concat("") == owner_id


def listed(column: ColumnElement[str], sqlite: bool) -> ColumnElement[bool]:
    """True for the ids that `as_list` gives a statement: one value for all of them, because SQLAlchemy and SQLite take
    longer to read a statement of hundreds than to do it."""
    if sqlite:
        given = func.json_each(bindparam("ids")).table_valued("value")
        return column.in_(select(given.c.value))
    return column == func.any(cast(bindparam("ids"), ARRAY(String)))


def as_list(ids: Collection[str], sqlite: bool) -> dict[str, Any]:
    return {"ids": orjson.dumps(list(ids)).decode() if sqlite else list(ids)}
