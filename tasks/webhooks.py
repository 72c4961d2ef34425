"""Kind `webhook`: a job that ended is told to the URL its client gave. Made in the transaction that ends the job."""

from __future__ import annotations

from typing import Any

from config.queues import Kind
from config.settings import get_settings
from storage.database import reading
from storage.tables import Job
from tasks.base import job
from tasks.run import JobRun, Outcome
from workers.notifiers import webhook


@job(Kind.WEBHOOK)
def notify(run: JobRun) -> Outcome:
    with reading() as session:
        ended = session.get(Job, run.input["job_id"])
    if ended is None:
        return Outcome({"delivered": False, "reason": "The job is past its retention."})
    secret = get_settings().webhook_secret.get_secret_value()
    status = webhook.post(run.input["url"], run.id, _payload(ended), secret)
    return Outcome({"delivered": True, "status": status})


def _payload(ended: Job) -> dict[str, Any]:
    names = ("id", "kind", "status", "attempt", "conversation_id", "result", "error", "created_at", "finished_at")
    return {
        "type": f"job.{ended.status}",
        "timestamp": ended.finished_at,
        "data": {name: getattr(ended, name) for name in names},
    }
