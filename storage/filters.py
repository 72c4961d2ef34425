"""What a listing or a search of conversations is narrowed to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, not_
from sqlmodel import col

from storage.tables import Conversation

OWN_SOURCE = "backchannel"
Status = Literal["active", "archived", "locked"]
ConversationKind = Literal["imported", "own"]


@dataclass(frozen=True, slots=True)
class Filters:
    """`since` and `until` bound the last change, aware UTC, until excluded."""

    source: str | None = None
    status: Status | None = None
    kind: ConversationKind | None = None
    since: datetime | None = None
    until: datetime | None = None
    has_attachment: bool | None = None

    @property
    def is_empty(self) -> bool:
        return self == NO_FILTERS

    def conditions(self) -> list[ColumnElement[bool]]:
        """For a statement over conversations."""
        found: list[ColumnElement[bool]] = []
        if self.source is not None:
            found.append(col(Conversation.source) == self.source)
        if self.status is not None:
            archived, locked = col(Conversation.is_archived), col(Conversation.is_locked)
            either = {"archived": [archived], "locked": [locked], "active": [not_(archived), not_(locked)]}
            found.extend(either[self.status])
        if self.kind is not None:
            own = col(Conversation.source) == OWN_SOURCE
            found.append(own if self.kind == "own" else not_(own))
        if self.since is not None:
            found.append(col(Conversation.updated_at) >= self.since)
        if self.until is not None:
            found.append(col(Conversation.updated_at) < self.until)
        if self.has_attachment is not None:
            found.append(col(Conversation.has_attachments).is_(self.has_attachment))
        return found


NO_FILTERS = Filters()
