"""/api/conversations: what was said, wherever it was said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Controller, delete, get, patch
from litestar.params import FromPath, FromQuery, Parameter
from pydantic import Field, field_validator, model_validator

from api.intake import AnyRequest
from api.schemas import MAX_OFFSET, Body, usable_text
from api.threads import reading as in_thread
from api.threads import writing
from api.views import conversation_json, message_json
from config.settings import get_settings
from storage import conversations, messages
from storage.conversations import SortBy, SortDir
from storage.database import reading, transaction
from storage.filters import ConversationKind, Filters, Status

Json = dict[str, Any]


class ConversationPatch(Body):
    title: str | None = Field(default=None, max_length=500)
    is_locked: bool | None = Field(default=None, description="A locked conversation takes no new messages or files")

    @field_validator("title")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        return None if value is None else " ".join(usable_text(value).split())

    @model_validator(mode="after")
    def _something(self) -> ConversationPatch:
        if self.title is None and self.is_locked is None:
            raise ValueError("needs a title or is_locked")
        return self


class ConversationController(Controller):
    path = "/api/conversations"
    tags = ["conversations"]  # noqa: RUF012

    @get("/", summary="Your conversations, most recently changed first")
    async def list(  # noqa: PLR0913, PLR0917 - one per query parameter
        self,
        request: AnyRequest,
        source: FromQuery[str | None] = None,
        status: FromQuery[Status | None] = None,
        kind: FromQuery[ConversationKind | None] = None,
        since: Annotated[datetime | None, Parameter(description="Changed at this time or later")] = None,
        until: Annotated[datetime | None, Parameter(description="Changed before this time")] = None,
        has_attachment: FromQuery[bool | None] = None,
        sort_by: FromQuery[SortBy] = "updated_at",
        sort_dir: FromQuery[SortDir] = "desc",
        limit: Annotated[int, Parameter(ge=1)] = 50,
        offset: Annotated[int, Parameter(ge=0, le=MAX_OFFSET)] = 0,
    ) -> Json:
        filters = Filters(source, status, kind, _utc(since), _utc(until), has_attachment)
        bounds = (min(limit, get_settings().max_page), offset)
        return await in_thread(_page, request.user.id, filters, bounds, (sort_by, sort_dir))

    @get("/{conversation_id:str}", summary="One conversation with the messages that are shown")
    async def show(
        self,
        request: AnyRequest,
        conversation_id: FromPath[str],
        tree: Annotated[bool, Parameter(description="All branches, tool traffic and reasoning too")] = False,
    ) -> Json:
        return await in_thread(_show, request.user.id, conversation_id, tree)

    @patch("/{conversation_id:str}", summary="Rename it, lock it, unlock it")
    async def change(self, request: AnyRequest, conversation_id: FromPath[str], data: ConversationPatch) -> Json:
        return await writing(_change, request.user.id, conversation_id, data)

    @delete("/{conversation_id:str}", summary="Remove it for good, with everything that was made of it")
    async def remove(self, request: AnyRequest, conversation_id: FromPath[str]) -> None:
        await writing(_remove, request.user.id, conversation_id)


def _utc(moment: datetime | None) -> datetime | None:
    """A time without a zone is taken as UTC."""
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _page(owner_id: str, filters: Filters, bounds: tuple[int, int], sort: tuple[SortBy, SortDir]) -> Json:
    limit, offset = bounds
    with reading() as session:
        rows, total = conversations.page(session, owner_id, filters, limit=limit, offset=offset, sort=sort)
    return {"conversations": [conversation_json(row) for row in rows], "total": total, "limit": limit, "offset": offset}


def _show(owner_id: str, conversation_id: str, tree: bool) -> Json:
    with reading() as session:
        conversation = conversations.get(session, conversation_id, owner_id)
        rows = messages.tree(session, conversation_id) if tree else messages.path(session, conversation_id)
    return {**conversation_json(conversation), "messages": [message_json(row) for row in rows]}


def _change(owner_id: str, conversation_id: str, data: ConversationPatch) -> Json:
    with transaction() as session:
        conversation = conversations.get(session, conversation_id, owner_id, lock=True)
        if data.title is not None:
            conversations.rename(session, conversation, data.title)
        if data.is_locked is not None:
            conversation.is_locked = data.is_locked
        session.flush()
        return conversation_json(conversation)


def _remove(owner_id: str, conversation_id: str) -> None:
    with transaction() as session:
        conversations.remove(session, conversation_id, owner_id)
