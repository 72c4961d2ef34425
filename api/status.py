"""/health (cheap) and /api/status (each part, queues, workers, models)."""

from __future__ import annotations

from typing import Any

import redis
from litestar import MediaType, Response, get

from api import machine
from api.intake import AnyRequest
from api.models import Known
from api.threads import reading as in_thread
from api.views import iso
from config.queues import KINDS, expected_workers
from config.settings import get_settings
from storage import backlog, chunks, files, presence, stats, vectors
from storage.connections import redis_client
from storage.database import DatabaseError, Session, reading
from storage.presence import WorkerPresence
from storage.tables import utcnow

Json = dict[str, Any]
STARTED_AT = utcnow()
# A conversation in which nobody asked anything for longer than this is no active session.
ACTIVE_S = 30 * 60.0
_MEMORY_SHORT = 95.0  # per cent in use


@get("/health", tags=["status"], summary="Is the web process alive?")
async def health() -> Json:
    return {"status": "healthy", "timestamp": iso(utcnow())}


@get("/", media_type=MediaType.JSON, tags=["status"], summary="What this is")
async def root() -> Json:
    return {"name": "Backchannel", "status": "running", "docs": "/docs", "health": "/health", "api": "/openapi.json"}


@get("/api/status", tags=["status"], summary="Every part's state")
async def status(request: AnyRequest) -> Response[Json]:
    body = await in_thread(_status, request.user.id)
    body["server"]["listeners"] = request.app.state.hub.listeners
    return Response(body)


def _status(owner_id: str) -> Json:
    database, counted = _database(owner_id)
    broker, workers = _redis()
    chroma = vectors.count_collections()
    missing = _missing(workers)
    loading = [worker.name for worker in workers if worker.state in ("starting", "loading")]
    healthy = database["status"] == broker["status"] == "online" and chroma is not None and not missing
    load, folder = machine.load(), get_settings().workspace_dir
    return {
        "success": True,
        "timestamp": iso(utcnow()),
        "status": "starting" if healthy and loading else "healthy" if healthy else "degraded",
        "services": {
            "database": database,
            "redis": broker,
            "chromadb": {
                "status": "offline" if chroma is None else "online",
                "documents": counted.get("documents"),
                "collections": chroma,
                "health": chroma is not None,
            },
            **_providers(workers),
        },
        "queues": counted.get("queues", {}),
        "workers": [_worker_json(worker) for worker in workers],
        "missing_workers": missing,
        "models": {role: model for worker in workers for role, model in worker.models.items()},
        "server": {
            "uptime": round((utcnow() - STARTED_AT).total_seconds(), 1),
            "cpu_usage": load["cpu_usage"],
            "memory_usage": load["memory_usage"],
            "active_sessions": counted.get("active_sessions"),
        },
        "workspace": {
            "upload_folder": "blobs",  # in DATA_DIR, which is nobody's business
            "uploaded_files": counted.get("uploaded_files"),
            "folder": folder.name if folder is not None else None,
        },
    }


def vital_signs() -> tuple[str, list[str]]:
    """`online`, `warning` (it works, but not all of it) or `error`, and why."""
    wrong, less = [], []
    try:
        with reading() as session:
            stats.count_users(session)
    except DatabaseError:
        wrong.append("The database cannot be reached.")
    broker, workers = _redis()
    if broker["status"] == "offline":
        wrong.append("Redis cannot be reached.")
    else:
        less += [f"No {name} worker is running." for name in _missing(workers)]
    if not vectors.is_alive():
        less.append("The vector index cannot be reached.")
    models = (worker.models.get(role, {}) for worker in workers for role in ("language", "embedding"))
    less += [f"The model {model['name']} could not be loaded." for model in models if model.get("state") == "failed"]
    if machine.load()["memory_usage"] >= _MEMORY_SHORT:
        less.append("This machine is short of memory.")
    return ("error" if wrong else "warning" if less else "online"), wrong + less


def _database(owner_id: str) -> tuple[Json, Json]:
    """How it is, and what it counts; nothing where it is away."""
    try:
        with reading() as session:
            return {"status": "online", "kind": _dialect(session)}, {
                "queues": _queues(session),
                "documents": chunks.count(session),
                "active_sessions": stats.count_talking(session, ACTIVE_S),
                "uploaded_files": files.count(session, owner_id),
            }
    except DatabaseError as error:
        return {"status": "offline", "reason": type(error).__name__}, {}


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


def _missing(workers: list[WorkerPresence]) -> list[str]:
    """Workers that should be there and are not."""
    present = {worker.name for worker in workers}
    return [name for name in expected_workers(voice=get_settings().voice_enabled) if name not in present]
