"""POST /api/conversations/import: a share link becomes a conversation, and that a draft, while the caller watches.

The frames are the jobs' events in the words of the seed; a job goes on when the caller leaves.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal, Self

import orjson
from litestar import Response, post
from litestar.response import Stream
from pydantic import Field, model_validator

from api.events import SSE_HEADERS
from api.intake import AnyRequest, builder, submit
from api.schemas import Body, DraftIn, ImportIn, SummarizeIn, one_model, parse_body
from api.threads import reading as in_thread
from api.views import conversation_json, iso
from api.waiting import preference, respond
from config.errors import BackchannelError, Conflict, FormatChanged
from config.queues import Kind
from storage import conversations, drafts, imports
from storage.database import reading
from storage.listeners import EventHub
from storage.tables import Job

Json = dict[str, Any]
# What the seed calls errors that a person can do something about.
CODES = {"chat_not_found": "CHAT_NOT_FOUND", "blocked": "BLOCKED", "format_changed": "FORMAT_CHANGED"}
# States of a draft's job that are frames of an import.
DRAFT_STATES = ("extracting_chat_keywords", "retrieving_memories", "summarizing", "generating")
NDJSON = "application/x-ndjson"


class LinkIn(Body):
    url: str = Field(min_length=1, max_length=2000)
    llm_model: str | None = Field(default=None, max_length=200)
    llm_provider: str | None = Field(default=None, max_length=100)
    accept_summarization: bool = False
    duplicate_resolution: Literal["prompt", "create_new", "update_existing"] = "prompt"
    target_conversation_id: str | None = Field(default=None, max_length=36)

    @model_validator(mode="after")
    def _has_model(self) -> Self:
        one_model(None, self.llm_model, self.llm_provider)
        return self

    @property
    def model(self) -> str | None:
        return one_model(None, self.llm_model, self.llm_provider)


@post("/api/conversations/import", status_code=200, tags=["imports"], summary="Import a share link and watch it")
async def import_link(request: AnyRequest, data: LinkIn) -> Stream | Response[Any]:
    owner_id = request.user.id
    wish = preference(request, default_wait_s=0)
    body = _as_import(data, watched=wish.applied is None)
    known = await in_thread(_known, owner_id, body.url or "") if data.duplicate_resolution == "prompt" else []
    if wish.applied is not None:
        if known:
            raise Conflict("This link was imported before; say with duplicate_resolution what to do.")
        return await respond(request, await _submit(request, data, body), wish)
    as_lines = NDJSON in request.headers.get("accept", "")
    frames = _one({"type": "conflict", "conversations": known}) if known else _frames(request, data, body)
    return Stream(
        _written(frames, as_lines), media_type=NDJSON if as_lines else "text/event-stream", headers=SSE_HEADERS
    )


def _as_import(data: LinkIn, *, watched: bool) -> ImportIn:
    """Raises Unusable for what is no share link. Where nobody watches, the import asks for the summary itself."""
    given: Json = {"url": data.url}
    if data.duplicate_resolution != "prompt":
        given["duplicates"] = data.duplicate_resolution
    if data.target_conversation_id is not None:
        given["target_conversation_id"] = data.target_conversation_id
    if data.accept_summarization and not watched:
        given |= {"accept_summarization": True, "model": data.model}
    return parse_body(ImportIn, given)


async def _submit(request: AnyRequest, data: LinkIn, body: ImportIn) -> Job:
    build = builder(Kind.IMPORT, body, request.user.id)
    return await submit(request, Kind.IMPORT, build, data.model_dump(mode="json"))


def _known(owner_id: str, url: str) -> list[Json]:
    with reading() as session:
        rows = conversations.with_url(session, owner_id, url)
    return [{"id": row.id, "title": row.title, "updated_at": iso(row.updated_at), "url": row.url} for row in rows]


# --- frames -----------------------------------------------------------------------------------------------------------


async def _one(frame: Json) -> AsyncIterator[Json]:
    yield frame


async def _frames(request: AnyRequest, data: LinkIn, body: ImportIn) -> AsyncIterator[Json]:
    hub: EventHub = request.app.state.hub
    try:
        yield {"type": "state", "state": "importing"}
        end = await _end(hub, (await _submit(request, data, body)).id)
        if end["type"] != "done":
            yield _failed(end)
            return
        conversation_id, reason = await in_thread(made_by, end["job_id"])
        if conversation_id is None:
            yield _failed({"code": FormatChanged.code, "message": reason})
            return
        if data.accept_summarization:
            yield {"type": "state", "state": "summarizing"}
            await _summarise(request, hub, conversation_id, data.model)
        async for frame in _drafted(request, hub, end["job_id"], conversation_id, data):
            yield frame
        yield await in_thread(_done, request.user.id, conversation_id)
    except BackchannelError as error:  # the answer has begun: what goes wrong now is a frame
        yield _failed(error.as_json())


async def _summarise(request: AnyRequest, hub: EventHub, conversation_id: str, model: str | None) -> None:
    """One that fails takes nothing from the import; the draft is made from the conversation itself if that fits."""
    wanted = SummarizeIn(conversation_id=conversation_id, model=model)
    job = await submit(request, Kind.SUMMARIZE, builder(Kind.SUMMARIZE, wanted, request.user.id), None, keyed=False)
    await _end(hub, job.id)


async def _drafted(
    request: AnyRequest, hub: EventHub, import_id: str, conversation_id: str, data: LinkIn
) -> AsyncIterator[Json]:
    """The draft as it is written. One that fails takes nothing from the import."""
    if await in_thread(_is_drafted, import_id, conversation_id):
        return
    wanted = DraftIn(conversation_id=conversation_id, model=data.model, accept_summarization=data.accept_summarization)
    try:
        job = await submit(request, Kind.DRAFT, builder(Kind.DRAFT, wanted, request.user.id), None, keyed=False)
    except BackchannelError as error:
        yield _failed(error.as_json())
        return
    async with contextlib.aclosing(hub.follow(job.id, 0)) as events:  # type: ignore[type-var]
        async for event in events:
            frame = _frame(orjson.loads(event.json)) if event is not None else None
            if frame is not None:
                yield frame


def _frame(event: Json) -> Json | None:
    """A draft's event in the words of the seed."""
    match event:
        case {"type": "content", "content": content}:
            return {"type": "content", "content": content}
        case {"type": "status", "status": "model_limit_conflict", "message": message, "suggestion": suggestion}:
            return {"type": "model_limit_conflict", "message": message, "suggestion": suggestion}
        case {"type": "status", "status": state} if state in DRAFT_STATES:
            return {"type": "state", "state": state}
        case {"type": "error", "code": "prompt_too_long"}:
            return None  # that frame has been
        case {"type": "error" | "cancelled"}:
            return _failed(event, "The draft was cancelled.")
    return None


def _is_drafted(import_id: str, conversation_id: str) -> bool:
    """The link held nothing new, and there is a draft of what it holds."""
    with reading() as session:
        rows, _ = imports.page(session, import_id, status="unchanged", limit=1, offset=0)
        return bool(rows) and drafts.find(session, conversation_id) is not None


async def _end(hub: EventHub, job_id: str) -> Json:
    """The job's terminal event."""
    last: Json = {}
    async with contextlib.aclosing(hub.follow(job_id, 0)) as events:  # type: ignore[type-var]
        async for event in events:
            if event is not None:
                last = orjson.loads(event.json)
    return last


def _failed(error: Json, cancelled: str = "The import was cancelled.") -> Json:
    code = str(error.get("code", "cancelled"))
    message = error.get("message") or cancelled
    return {"type": "error", "message": message, "code": CODES.get(code, code.upper())}


def made_by(job_id: str) -> tuple[str | None, str]:
    """The conversation of a link's import, or why there is none."""
    with reading() as session:
        rows, _ = imports.page(session, job_id, status=None, limit=1, offset=0)
    reason = rows[0].reason if rows else None
    return (rows[0].conversation_id if rows else None), reason or "The page holds no conversation that can be read."


def _done(owner_id: str, conversation_id: str) -> Json:
    with reading() as session:
        conversation = conversation_json(conversations.get(session, conversation_id, owner_id))
        draft = drafts.find(session, conversation_id)
        told = drafts.as_json(session, draft) if draft is not None and draft.active_version_id else None
    return {"type": "done", "conversation": conversation, "project_draft": told}


async def _written(frames: AsyncIterator[Json], as_lines: bool) -> AsyncIterator[bytes]:
    async for frame in frames:
        body = orjson.dumps(frame)
        yield body + b"\n" if as_lines else b"data: " + body + b"\n\n"
