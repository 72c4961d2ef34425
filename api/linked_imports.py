"""POST /api/conversations/import: a share link becomes a conversation while the caller watches, frame by frame.

The frames are the job's events in the words of the seed; the job goes on when the caller leaves.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import orjson
from litestar import Response, post
from litestar.response import Stream
from pydantic import Field

from api.events import SSE_HEADERS
from api.intake import AnyRequest, builder, submit
from api.schemas import Body, ImportIn, SummarizeIn, parse_body
from api.threads import reading as in_thread
from api.views import conversation_json, iso
from api.waiting import preference, respond
from config.errors import BackchannelError, Conflict, FormatChanged
from config.queues import Kind
from storage import conversations, imports
from storage.database import reading
from storage.listeners import EventHub
from storage.tables import Job

Json = dict[str, Any]
# What the seed calls errors that a person can do something about.
CODES = {"chat_not_found": "CHAT_NOT_FOUND", "blocked": "BLOCKED", "format_changed": "FORMAT_CHANGED"}
NDJSON = "application/x-ndjson"


class LinkIn(Body):
    url: str = Field(min_length=1, max_length=2000)
    llm_model: str | None = Field(default=None, max_length=200)
    llm_provider: str | None = Field(default=None, max_length=100)
    accept_summarization: bool = False
    duplicate_resolution: Literal["prompt", "create_new", "update_existing"] = "prompt"
    target_conversation_id: str | None = Field(default=None, max_length=36)


@post("/api/conversations/import", status_code=200, tags=["imports"], summary="Import a share link and watch it")
async def import_link(request: AnyRequest, data: LinkIn) -> Stream | Response[Any]:
    owner_id = request.user.id
    body = _as_import(data)
    known = await in_thread(_known, owner_id, body.url or "") if data.duplicate_resolution == "prompt" else []
    wish = preference(request, default_wait_s=0)
    if wish.applied is not None:
        if known:
            raise Conflict("This link was imported before; say with duplicate_resolution what to do.")
        return await respond(request, await _submit(request, data, body), wish)
    as_lines = NDJSON in request.headers.get("accept", "")
    frames = _one({"type": "conflict", "conversations": known}) if known else _frames(request, data, body)
    return Stream(
        _written(frames, as_lines), media_type=NDJSON if as_lines else "text/event-stream", headers=SSE_HEADERS
    )


def _as_import(data: LinkIn) -> ImportIn:
    """Raises Unusable for what is no share link."""
    given: Json = {"url": data.url}
    if data.duplicate_resolution != "prompt":
        given["duplicates"] = data.duplicate_resolution
    if data.target_conversation_id is not None:
        given["target_conversation_id"] = data.target_conversation_id
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
        conversation_id, reason = await in_thread(_made_by, end["job_id"])
        if conversation_id is None:
            yield _failed({"code": FormatChanged.code, "message": reason})
            return
        if data.accept_summarization:
            yield {"type": "state", "state": "summarizing"}
            async for frame in _summarised(request, hub, conversation_id, data):
                yield frame
        conversation = await in_thread(_shown, request.user.id, conversation_id)
        yield {"type": "done", "conversation": conversation, "project_draft": None}
    except BackchannelError as error:  # the answer has begun: what goes wrong now is a frame
        yield _failed(error.as_json())


async def _summarised(request: AnyRequest, hub: EventHub, conversation_id: str, data: LinkIn) -> AsyncIterator[Json]:
    """The summary as it is written. One that fails takes nothing from the import."""
    wanted = SummarizeIn(conversation_id=conversation_id, model=data.llm_model)
    job = await submit(request, Kind.SUMMARIZE, builder(Kind.SUMMARIZE, wanted, request.user.id), None, keyed=False)
    async with contextlib.aclosing(hub.follow(job.id, 0)) as events:  # type: ignore[type-var]
        async for event in events:
            if event is not None and event.type == "content":
                yield {"type": "content", "content": orjson.loads(event.json)["content"]}


async def _end(hub: EventHub, job_id: str) -> Json:
    """The job's terminal event."""
    last: Json = {}
    async with contextlib.aclosing(hub.follow(job_id, 0)) as events:  # type: ignore[type-var]
        async for event in events:
            if event is not None:
                last = orjson.loads(event.json)
    return last


def _failed(error: Json) -> Json:
    code = str(error.get("code", "cancelled"))
    message = error.get("message") or "The import was cancelled."
    return {"type": "error", "message": message, "code": CODES.get(code, code.upper())}


def _made_by(job_id: str) -> tuple[str | None, str]:
    """The conversation of a link's import, or why there is none."""
    with reading() as session:
        rows, _ = imports.page(session, job_id, status=None, limit=1, offset=0)
    reason = rows[0].reason if rows else None
    return (rows[0].conversation_id if rows else None), reason or "The page holds no conversation that can be read."


def _shown(owner_id: str, conversation_id: str) -> Json:
    with reading() as session:
        return conversation_json(conversations.get(session, conversation_id, owner_id))


async def _written(frames: AsyncIterator[Json], as_lines: bool) -> AsyncIterator[bytes]:
    async for frame in frames:
        body = orjson.dumps(frame)
        yield body + b"\n" if as_lines else b"data: " + body + b"\n\n"
