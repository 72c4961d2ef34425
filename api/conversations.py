"""/api/conversations: what was said, wherever it was said."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, get
from litestar.params import FromPath, FromQuery, Parameter

from api.intake import AnyRequest
from api.schemas import MAX_OFFSET
from api.threads import reading as in_thread
from api.views import conversation_json, message_json
from config.settings import get_settings
from storage import conversations, messages
from storage.database import reading

Json = dict[str, Any]


class ConversationController(Controller):
    path = "/api/conversations"
    tags = ["conversations"]  # noqa: RUF012

    @get("/", summary="Your conversations, most recently changed first")
    async def list(
        self,
        request: AnyRequest,
        source: FromQuery[str | None] = None,
        limit: Annotated[int, Parameter(ge=1)] = 50,
        offset: Annotated[int, Parameter(ge=0, le=MAX_OFFSET)] = 0,
    ) -> Json:
        return await in_thread(_page, request.user.id, source, min(limit, get_settings().max_page), offset)

    @get("/{conversation_id:str}", summary="One conversation with the messages that are shown")
    async def show(
        self,
        request: AnyRequest,
        conversation_id: FromPath[str],
        tree: Annotated[bool, Parameter(description="All branches, tool traffic and reasoning too")] = False,
    ) -> Json:
        return await in_thread(_show, request.user.id, conversation_id, tree)


def _page(owner_id: str, source: str | None, limit: int, offset: int) -> Json:
    with reading() as session:
        rows, total = conversations.page(session, owner_id, source=source, limit=limit, offset=offset)
    return {"conversations": [conversation_json(row) for row in rows], "total": total, "limit": limit, "offset": offset}


def _show(owner_id: str, conversation_id: str, tree: bool) -> Json:
    with reading() as session:
        conversation = conversations.get(session, conversation_id, owner_id)
        rows = messages.tree(session, conversation_id) if tree else messages.path(session, conversation_id)
    return {**conversation_json(conversation), "messages": [message_json(row) for row in rows]}
