"""Rows as clients see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import redis

from config.queues import worker_of
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
    queued = job.status == "queued"
    return {
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "priority": job.priority,
        "attempt": job.attempt,
        "progress": job.progress,
        "queue": _queue_json(session, job) if queued else None,
        "blocked_by": _blocked_by(session, job, workers) if queued else None,
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


def _queue_json(session: Session, job: Job) -> Json:
    position = backlog.position(session, job)
    mean = backlog.mean_run_s(session, job.kind)
    return {"position": position, "eta_seconds": round(mean * position, 1) if mean is not None else None}


def _blocked_by(session: Session, job: Job, workers: list[WorkerPresence] | None) -> str | None:
    if job.run_after is not None and job.run_after > utcnow():
        return f"retry due at {iso(job.run_after)}"
    if blocker := backlog.serial_blocker(session, job):
        return f"job {blocker} of the same conversation or index goes first"
    if workers is None:
        try:
            workers = presence.present()
        except redis.RedisError:
            return "the queue (Redis) cannot be reached"
    serving = [worker for worker in workers if job.queue in worker.queues and worker.state != "stopping"]
    if not serving:
        return f"no worker is serving the {job.queue} queue ({worker_of(job.queue)} worker)"
    if all(worker.state in ("starting", "loading") for worker in serving):
        return "the model is loading"
    if all(worker.busy >= worker.slots for worker in serving):
        return f"all {sum(worker.slots for worker in serving)} slots of the {worker_of(job.queue)} worker are busy"
    return None


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
        "indexed": conversation.indexed_version >= conversation.content_version,
        "created_at": iso(conversation.created_at),
        "updated_at": iso(conversation.updated_at),
        "import_date": iso(conversation.imported_at),
    }
