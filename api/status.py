"""/health (cheap) and /api/status (each part, queues, workers, models)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import psutil
import redis
from litestar import MediaType, Response, get

from api.intake import AnyRequest
from api.models import Known
from api.threads import reading as in_thread
from api.views import iso
from config.queues import KINDS, WORKERS
from config.settings import get_settings
from storage import backlog, chunks, presence, vectors
from storage.connections import redis_client
from storage.database import DatabaseError, Session, reading
from storage.presence import WorkerPresence

Json = dict[str, Any]
_STARTED = time.monotonic()


@get("/health", tags=["status"], summary="Is the web process alive?")
async def health() -> Json:
    return {"status": "healthy", "timestamp": iso(datetime.now(UTC))}


@get("/", media_type=MediaType.JSON, tags=["status"], summary="What this is")
async def root() -> Json:
    return {"name": "Backchannel", "status": "running", "docs": "/docs", "health": "/health", "api": "/openapi.json"}


@get("/api/status", tags=["status"], summary="Every part's state")
async def status(request: AnyRequest) -> Response[Json]:
    body = await in_thread(_status)
    body["server"]["listeners"] = request.app.state.hub.listeners
    return Response(body)


def _status() -> Json:
    database, queues, documents = _database()
    broker, workers = _redis()
    chroma = "online" if vectors.is_alive() else "offline"
    missing = [name for name in WORKERS if not any(worker.name == name for worker in workers)]
    loading = [worker.name for worker in workers if worker.state in ("starting", "loading")]
    healthy = database["status"] == broker["status"] == chroma == "online" and not missing
    return {
        "success": True,
        "timestamp": iso(datetime.now(UTC)),
        "status": "starting" if healthy and loading else "healthy" if healthy else "degraded",
        "services": {
            "database": database,
            "redis": broker,
            "chromadb": {"status": chroma, "documents": documents, "health": chroma == "online"},
            **_providers(workers),
        },
        "queues": queues,
        "workers": [_worker_json(worker) for worker in workers],
        "missing_workers": missing,
        "models": {role: model for worker in workers for role, model in worker.models.items()},
        "server": {
            "uptime": round(time.monotonic() - _STARTED, 1),
            "cpu_usage": psutil.cpu_percent(),
            "memory_usage": psutil.virtual_memory().percent,
        },
    }


def _database() -> tuple[Json, Json, int | None]:
    try:
        with reading() as session:
            return {"status": "online", "kind": _dialect(session)}, _queues(session), chunks.count(session)
    except DatabaseError as error:
        return {"status": "offline", "reason": type(error).__name__}, {}, None


def _dialect(session: Session) -> str:
    return session.get_bind().dialect.name


def _queues(session: Session) -> Json:
    depths = backlog.depths(session)
    names = sorted({spec.queue for spec in KINDS.values()})
    return {
        name: {**depths.get(name, {"queued": 0, "running": 0}), "limit": get_settings().queue_limit} for name in names
    }


def _redis() -> tuple[Json, list[WorkerPresence]]:
    try:
        client = redis_client()
        version = client.info("server")["redis_version"]
        return {"status": "online", "version": version, "private": get_settings().redis_is_private}, presence.present()
    except redis.RedisError as error:
        return {"status": "offline", "reason": type(error).__name__}, []


def _providers(workers: list[WorkerPresence]) -> Json:
    """As FAITHH shows them."""
    listed = Known(get_settings(), workers).as_json()
    gemini, ollama = listed["gemini"], listed["ollama"]
    names = [model["id"] for model in ollama["available"]]
    return {
        "gemini": {"status": gemini["status"], "model": gemini["default"], "rate_limit": None},
        "ollama": {"status": ollama["status"], "models": names, "count": len(names)},
    }


def _worker_json(worker: WorkerPresence) -> Json:
    return {
        "name": worker.name,
        "state": worker.state,
        "queues": worker.queues,
        "slots": worker.slots,
        "busy": worker.busy,
        "memory_bytes": worker.rss_bytes,
        "models": worker.models,
    }
