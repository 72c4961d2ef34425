"""Rows as clients see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import redis

from config.queues import WORKERS, worker_of
from storage import backlog, presence
from storage.database import Session
from storage.presence import WorkerPresence
from storage.tables import Conversation, Job, Message, utcnow

Json = dict[str, Any]


def iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def _ms(start: datetime | None, end: datetime | None) -> int | None:
    return round((end - start).total_seconds() * 1000) if start and end else None


def job_json(session: Session, job: Job, workers: list[WorkerPresence] | None = None) -> Json:
    """`workers`: who is alive, when the caller knows it already (listings)."""
    queue, blocked_by = _waiting(session, job, workers)
    return {
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "priority": job.priority,
        "attempt": job.attempt,
        "progress": job.progress,
        "queue": queue,
        "blocked_by": blocked_by,
        "conversation_id": job.conversation_id,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "queue_ms": _ms(job.created_at, job.started_at),
        "ttft_ms": _ms(job.created_at, job.first_output_at),
        "run_ms": _ms(job.started_at, job.finished_at),
        "result": job.result,
        "error": job.error if job.status in ("failed", "queued") else None,
        "links": {
            "self": f"/api/jobs/{job.id}",
            "events": f"/api/jobs/{job.id}/events",
            "cancel": f"/api/jobs/{job.id}/cancel",
            "retry": f"/api/jobs/{job.id}/retry",
        },
    }


def _waiting(session: Session, job: Job, workers: list[WorkerPresence] | None) -> tuple[Json | None, str | None]:
    """The job's place in the line, and in words what it waits for: on its queue, or already with a worker whose model
    answers others first."""
    in_model = job.status == "running" and job.queue in WORKERS["generate"]
    if not in_model and job.status != "queued":
        return None, None
    if workers is None:
        workers = _present()
    if not in_model:
        return _queue_json(session, job, workers or []), _blocked_by(session, job, workers)
    for worker in workers or []:
        if place := worker.engine.get("jobs", {}).get(job.id):
            return _place_json(*place), "waiting for a free slot of the model"
    return None, None


def _present() -> list[WorkerPresence] | None:
    try:
        return presence.present()
    except redis.RedisError:
        return None


def _place_json(position: int, eta_s: float | None) -> Json:
    return {"position": position, "eta_seconds": round(eta_s, 1) if eta_s is not None else None}


def _queue_json(session: Session, job: Job, workers: list[WorkerPresence]) -> Json:
    """Before a queued job go the rows ahead of it and what waits in the model. Seconds are until its turn, by how long
    answers take and how many are written at once; where no model tells, by how long jobs of the kind take."""
    engines = [worker.engine for worker in workers if job.queue in worker.queues and worker.engine]
    position = backlog.position(session, job) + sum(engine["waiting"] for engine in engines)
    known = [engine["answer_s"] for engine in engines if engine["answer_s"] is not None]
    if not known:
        mean = backlog.mean_run_s(session, job.kind)
        return _place_json(position, mean * position if mean is not None else None)
    slots = sum(engine["slots"] for engine in engines)
    free = max(slots - sum(engine["running"] + engine["waiting"] for engine in engines), 0)
    return _place_json(position, sum(known) / len(known) * max(position - free, 0) / slots)


def _blocked_by(session: Session, job: Job, workers: list[WorkerPresence] | None) -> str | None:
    if job.run_after is not None and job.run_after > utcnow():
        return f"retry due at {iso(job.run_after)}"
    if blocker := backlog.serial_blocker(session, job):
        return f"job {blocker} of the same conversation or index goes first"
    if workers is None:
        return "the queue (Redis) cannot be reached"
    serving = [worker for worker in workers if job.queue in worker.queues and worker.state != "stopping"]
    if not serving:
        return f"no worker is serving the {job.queue} queue ({worker_of(job.queue)} worker)"
    if all(worker.state in ("starting", "loading") for worker in serving):
        return f"the model is loading{_percent(serving)}"
    if all(worker.busy >= worker.slots for worker in serving):
        return f"all {sum(worker.slots for worker in serving)} slots of the {worker_of(job.queue)} worker are busy"
    return None


def _percent(workers: list[WorkerPresence]) -> str:
    """How far the one is that has come furthest, where that is known."""
    told = [worker.models.get("language", {}).get("progress") for worker in workers]
    known = [progress for progress in told if progress is not None]
    return f" ({round(100 * max(known))} %)" if known else ""


def message_json(message: Message) -> Json:
    return {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "parent_id": message.parent_id,
        "visibility": message.visibility,
        "on_path": message.on_path,
        "author_name": message.author_name,
        "model": message.model,
        "tokens": message.completion_tokens,
        "prompt_tokens": message.prompt_tokens,
        "response_time": message.response_ms / 1000 if message.response_ms is not None else None,
        "sources": message.sources,
        "timestamp": iso(message.created_at),
        "job_id": message.job_id,
        "parts": message.parts,
    }


def conversation_json(conversation: Conversation) -> Json:
    return {
        "id": conversation.id,
        "source": conversation.source,
        "native_id": conversation.native_id,
        "url": conversation.url,
        "title": conversation.title,
        "model": conversation.model,
        "is_archived": conversation.is_archived,
        "is_locked": conversation.is_locked,
        "has_attachments": conversation.has_attachments,
        "indexed": conversation.indexed_version >= conversation.content_version,
        "created_at": iso(conversation.created_at),
        "updated_at": iso(conversation.updated_at),
        "import_date": iso(conversation.imported_at),
    }
