"""Project drafts: read, edited, compared and restored; and the talk about one, in which a model may change it."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath, Parameter
from litestar.response import Stream
from pydantic import Field, field_validator, model_validator

from api.events import SSE_HEADERS, server_sent
from api.intake import AnyRequest, builder, submit
from api.schemas import (
    MAX_OFFSET,
    Body,
    DraftChatIn,
    DraftChatOptions,
    DraftIn,
    DraftOptions,
    usable_text,
)
from api.threads import reading as in_thread
from api.threads import writing
from api.views import message_json
from api.waiting import preference, respond
from config.queues import Kind
from config.settings import get_settings
from storage import conversations, drafts, messages
from storage.database import Session, reading, transaction
from storage.project_tables import ProjectDraftVersion
from storage.tables import Job

Json = dict[str, Any]
Limit = Annotated[int, Parameter(ge=1)]
Offset = Annotated[int, Parameter(ge=0, le=MAX_OFFSET)]


class DraftEdit(Body):
    """What is not given stays as it is."""

    title: str | None = Field(default=None, min_length=1, max_length=drafts.MAX_TITLE_CHARS)
    description: str | None = Field(default=None, min_length=1)

    @field_validator("title", "description")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        return None if value is None else usable_text(value)

    @model_validator(mode="after")
    def _says_something(self) -> DraftEdit:
        if self.title is None and self.description is None:
            raise ValueError("needs a title or a description")
        return self


class DraftController(Controller):
    path = "/api/conversations/{conversation_id:str}/project-draft"
    tags = ["project drafts"]  # noqa: RUF012

    @get("/", summary="The project draft of a conversation")
    async def show(self, request: AnyRequest, conversation_id: FromPath[str]) -> Json:
        return await in_thread(_show, request.user.id, conversation_id)

    @post("/", status_code=202, summary="Have a draft written from the conversation")
    async def make(
        self, request: AnyRequest, conversation_id: FromPath[str], data: DraftOptions | None = None
    ) -> Response[Json]:
        given = data or DraftOptions()
        body = DraftIn.model_construct(conversation_id=conversation_id, **given.model_dump())
        job = await submit(
            request, Kind.DRAFT, builder(Kind.DRAFT, body, request.user.id), given.model_dump(mode="json")
        )
        return await respond(request, job, preference(request, default_wait_s=0), _draft_of)

    @patch("/", summary="Edit the draft: a new version")
    async def edit(self, request: AnyRequest, conversation_id: FromPath[str], data: DraftEdit) -> Json:
        return await writing(_edit, request.user.id, conversation_id, data)

    # --- versions

    @get("/versions", summary="The draft's versions, newest first")
    async def versions(
        self, request: AnyRequest, conversation_id: FromPath[str], limit: Limit = 50, offset: Offset = 0
    ) -> Json:
        return await in_thread(_versions, request.user.id, conversation_id, min(limit, get_settings().max_page), offset)

    @post("/versions/{version_id:str}/activate", status_code=200, summary="Make a version the draft again")
    async def activate(self, request: AnyRequest, conversation_id: FromPath[str], version_id: FromPath[str]) -> Json:
        return await writing(_activate, request.user.id, conversation_id, version_id)

    @get("/versions/{from_id:str}/diff/{to_id:str}", summary="What changed from one version to another")
    async def diff(
        self, request: AnyRequest, conversation_id: FromPath[str], from_id: FromPath[str], to_id: FromPath[str]
    ) -> Json:
        return await in_thread(_diff, request.user.id, conversation_id, from_id, to_id)

    # --- the talk about it

    @get("/chat", summary="What was said about the draft")
    async def history(
        self, request: AnyRequest, conversation_id: FromPath[str], limit: Limit = 200, offset: Offset = 0
    ) -> Json:
        return await in_thread(_history, request.user.id, conversation_id, min(limit, get_settings().max_page), offset)

    @post("/chat/stream", status_code=200, summary="Say something about the draft and watch the answer")
    async def chat(
        self, request: AnyRequest, conversation_id: FromPath[str], data: DraftChatOptions
    ) -> Stream | Response[Any]:
        body = DraftChatIn.model_construct(conversation_id=conversation_id, **data.model_dump())
        build = builder(Kind.DRAFT_CHAT, body, request.user.id)
        job = await submit(request, Kind.DRAFT_CHAT, build, data.model_dump(mode="json"))
        wish = preference(request, default_wait_s=0)
        if wish.applied is not None:
            return await respond(request, job, wish, lambda _session, job: job.result or {})
        return Stream(
            server_sent(request.app.state.hub, job.id, 0), media_type="text/event-stream", headers=SSE_HEADERS
        )


def _show(owner_id: str, conversation_id: str) -> Json:
    with reading() as session:
        conversations.get(session, conversation_id, owner_id)
        return drafts.as_json(session, drafts.get(session, conversation_id))


def _draft_of(session: Session, job: Job) -> Json:
    conversation = conversations.get(session, job.input["conversation_id"], job.owner_id)
    return drafts.as_json(session, drafts.get(session, conversation.id)) | {"job_id": job.id}


def _edit(owner_id: str, conversation_id: str, data: DraftEdit) -> Json:
    """An edit that changes nothing makes no version."""
    with transaction() as session:
        conversation = conversations.open_for_writing(session, conversation_id, owner_id)
        draft = drafts.ensure(session, conversation, owner_id)
        now = drafts.active(session, draft)
        title = data.title or (now.title if now is not None else conversation.title)
        description = data.description or (now.description if now is not None else "")
        if now is None or (title, description) != (now.title, now.description):
            drafts.add_version(session, conversation, title, description, by=owner_id, is_manual_edit=True)
        return drafts.as_json(session, draft)


def _versions(owner_id: str, conversation_id: str, limit: int, offset: int) -> Json:
    with reading() as session:
        conversations.get(session, conversation_id, owner_id)
        draft = drafts.get(session, conversation_id)
        rows, total = drafts.page(session, draft, limit=limit, offset=offset)
    shown = [drafts.version_json(row) | {"is_active": row.id == draft.active_version_id} for row in rows]
    return {"versions": shown, "total": total, "limit": limit, "offset": offset}


def _activate(owner_id: str, conversation_id: str, version_id: str) -> Json:
    with transaction() as session:
        conversations.open_for_writing(session, conversation_id, owner_id)
        draft = drafts.get(session, conversation_id)
        drafts.make_active(session, draft, drafts.version(session, draft, version_id))
        return drafts.as_json(session, draft)


def _diff(owner_id: str, conversation_id: str, from_id: str, to_id: str) -> Json:
    with reading() as session:
        conversations.get(session, conversation_id, owner_id)
        draft = drafts.get(session, conversation_id)
        old, new = (drafts.version(session, draft, version_id) for version_id in (from_id, to_id))
    lines = difflib.unified_diff(
        _lines(old), _lines(new), f"version {old.version_number}", f"version {new.version_number}", lineterm=""
    )
    return {"from": drafts.version_json(old), "to": drafts.version_json(new), "diff": "\n".join(lines)}


def _lines(version: ProjectDraftVersion) -> list[str]:
    return [f"# {version.title}", "", *version.description.splitlines()]


def _history(owner_id: str, conversation_id: str, limit: int, offset: int) -> Json:
    """The whole talk, oldest first; empty before anything is said."""
    with reading() as session:
        conversation = conversations.get(session, conversation_id, owner_id)
        draft = drafts.find(session, conversation_id)
        talk = draft.chat_id if draft is not None else None
        rows = messages.path(session, talk) if talk is not None else []
    shown = [
        message_json(row) | {"sequence_number": number, "project_draft_id": draft.id if draft is not None else None}
        for number, row in enumerate(rows, start=1)
    ]
    return {
        "messages": shown[offset : offset + limit],
        "total": len(rows),
        "limit": limit,
        "offset": offset,
        "chat_id": talk,
        "is_locked": conversation.is_locked,
    }
