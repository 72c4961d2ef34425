"""Chat and administration as PocketLLM has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import redis
from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, Parameter

from api import machine, sessions
from api.intake import AnyRequest, chat_builder, submit
from api.schemas import MAX_OFFSET, PromptIn
from api.status import ACTIVE_S, STARTED_AT
from api.threads import reading as in_thread
from api.threads import writing
from api.views import conversation_json, iso, message_json
from api.waiting import preference, respond
from config.errors import Forbidden
from config.queues import Kind
from config.settings import get_settings
from storage import answer_cache, backlog, conversations, messages, presence, stats
from storage.database import Session, reading
from storage.presence import WorkerPresence
from storage.tables import Job, utcnow

Json = dict[str, Any]
# Latencies are those of so many jobs, the newest.
_LATEST = 2000
_PERCENTILES = (50, 90, 95, 99)


class PocketChatController(Controller):
    path = "/chat"
    tags = ["chat"]  # noqa: RUF012

    @post("/", status_code=200, summary="Send a prompt and get the answer")
    async def chat(self, request: AnyRequest, data: PromptIn) -> Response[Json]:
        build = chat_builder(request.user.id, data.prompt, data.options())
        job = await submit(request, Kind.CHAT, build, data.model_dump(mode="json"))
        wish = preference(request, default_wait_s=get_settings().wait_max_s)
        return await respond(request, job, wish, _chat_json, cancel_on_disconnect=data.cancel_on_disconnect)

    @get("/history", summary="Your chat sessions, most recently changed first")
    async def list(
        self,
        request: AnyRequest,
        limit: Annotated[int, Parameter(ge=1)] = 50,
        offset: Annotated[int, Parameter(ge=0, le=MAX_OFFSET)] = 0,
    ) -> Json:
        return await in_thread(sessions.page, request.user.id, min(limit, get_settings().max_page), offset)

    @get("/history/{session_id:str}", summary="One chat session with its messages")
    async def show(self, request: AnyRequest, session_id: FromPath[str]) -> Json:
        return await in_thread(_show, request.user.id, session_id)

    @delete("/history/{session_id:str}", status_code=200, summary="Delete a chat session")
    async def remove(self, request: AnyRequest, session_id: FromPath[str]) -> Json:
        return await writing(sessions.remove, request.user.id, session_id)


class AdminController(Controller):
    path = "/admin"
    tags = ["admin"]  # noqa: RUF012

    @get("/metrics", summary="What the whole system does")
    async def metrics(self, request: AnyRequest) -> Json:
        _require_admin(request)
        return await in_thread(_metrics)

    @get("/cache/stats", summary="What the cache of answers holds")
    async def cache(self, request: AnyRequest) -> Json:
        _require_admin(request)
        return await in_thread(answer_cache.stats)

    @post("/cache/flush", status_code=200, summary="Empty the cache of answers")
    async def flush(self, request: AnyRequest) -> Json:
        _require_admin(request)
        return {"success": True, "message": "Cache flushed", "flushed": await in_thread(answer_cache.flush)}

    @get("/sessions/count", summary="How many sessions there are")
    async def sessions(self, request: AnyRequest) -> Json:
        _require_admin(request)
        return await in_thread(_sessions)


def _require_admin(request: AnyRequest) -> None:
    if request.user.role != "admin":
        raise Forbidden("Only an admin may do that.")


def _chat_json(_session: Session, job: Job) -> Json:
    result = job.result or {}
    return {
        "response": result["content"],
        "session_id": result["session_id"],
        "message_id": result["message_id"],
        "model": result["model"],
        "cached": result.get("cached", False),
        "tokens": result["completion_tokens"],
        "prompt_tokens": result["prompt_tokens"],
        "response_time": result["response_ms"] / 1000,
        "finish_reason": result["finish_reason"],
        "sources": result["sources"],
        "timestamp": iso(job.finished_at),
        "job_id": job.id,
        **{name: result[name] for name in ("logprobs", "emotion") if name in result},
    }


def _show(owner_id: str, session_id: str) -> Json:
    with reading() as session:
        conversation = conversations.get(session, session_id, owner_id)
        shown = messages.path(session, session_id)
    told = [message_json(message) for message in shown]
    return {**conversation_json(conversation), "session_id": conversation.id, "messages": told}


# --- for admins


def _sessions() -> Json:
    with reading() as session:
        return _count_sessions(session)


def _count_sessions(session: Session) -> Json:
    return {**stats.count_sessions(session), "active": stats.count_talking(session, ACTIVE_S)}


def _metrics() -> Json:
    with reading() as session:
        jobs, tokens = stats.count_jobs(session), stats.count_tokens(session)
        ends, depths = stats.latest_ends(session, _LATEST), backlog.depths(session)
        people, talks = stats.count_users(session), _count_sessions(session)
    try:
        workers, cache = presence.present(), answer_cache.stats()
    except redis.RedisError:
        workers, cache = [], {"enabled": False}
    load = machine.load()
    chats = jobs.get(Kind.CHAT, {})
    return {
        "timestamp": iso(utcnow()),
        "uptime": round((utcnow() - STARTED_AT).total_seconds(), 1),
        "requests": {"total": sum(chats.values()), **{status: chats.get(status, 0) for status in _STATUSES}},
        "tokens": {**tokens, "total": tokens["prompt"] + tokens["completion"]},
        "latency_ms": {kind: _latency(rows) for kind, rows in _by_kind(ends).items()},
        "jobs": jobs,
        "queues": depths,
        "cache": cache,
        "users": people,
        "sessions": talks,
        "processes": [{"name": "web", "memory_bytes": load["memory_bytes"]}, *map(_process_json, workers)],
        "cpu_usage": load["cpu_usage"],
        "memory_usage": load["memory_usage"],
        "active_connections": load["connections"],
    }


_STATUSES = ("succeeded", "failed", "cancelled", "queued", "running")


def _process_json(worker: WorkerPresence) -> Json:
    return {
        "name": worker.name,
        "state": worker.state,
        "busy": worker.busy,
        "slots": worker.slots,
        "memory_bytes": worker.rss_bytes,
        "engine": {key: value for key, value in worker.engine.items() if key != "jobs"},
    }


def _by_kind(ends: Sequence[Any]) -> dict[str, list[Any]]:
    kinds: dict[str, list[Any]] = {}
    for row in ends:
        kinds.setdefault(row.kind, []).append(row)
    return kinds


def _latency(rows: Sequence[Any]) -> Json:
    """Of the waiting, of the first token (from the request on), and of the work."""
    spans = {
        "queue": [_ms(row.created_at, row.started_at) for row in rows],
        "first_token": [_ms(row.created_at, row.first_output_at) for row in rows],
        "run": [_ms(row.started_at, row.finished_at) for row in rows],
    }
    told = {name: sorted(ms for ms in found if ms is not None) for name, found in spans.items()}
    return {"jobs": len(rows), **{name: percentiles(found) for name, found in told.items() if found}}


def _ms(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds() * 1000, 1) if start and end else None


def percentiles(ordered: Sequence[float]) -> dict[str, float]:
    """Of values in ascending order, at least one: the smallest that is not below so many per cent of them."""
    return {f"p{share}": ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)] for share in _PERCENTILES}
