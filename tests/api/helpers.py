"""What several tests of the surface ask and check."""

from __future__ import annotations

from typing import Any

import httpx
from sqlmodel import col, select

from storage.database import reading
from storage.tables import Job
from tests import factories
from tests.servers import wait_until

Json = dict[str, Any]
PROBLEM = {"type", "title", "status", "detail", "code"}
# What no answer may hold: signs of a stack trace or of this program's files.
INSIDE = ("Traceback", 'File "', "site-packages", ".py", "sqlalchemy", "/tmp/")


def work(job_id: str) -> None:
    """Do this job, as a worker that got its id."""
    import tasks.all  # noqa: F401 - registers what jobs do
    from tasks.base import run_job

    run_job(job_id)


def newest_job(kind: str = "chat") -> str:
    """Waits until there is a job of this kind; its id."""
    wait_until(lambda: job_ids(kind), what=f"a {kind} job")
    return job_ids(kind)[0]


def job_ids(kind: str | None = None) -> list[str]:
    """Newest first."""
    with reading() as session:
        query = select(Job.id).where(col(Job.kind) == kind) if kind else select(Job.id)
        return list(session.exec(query.order_by(col(Job.id).desc())))


def fail(job_id: str, code: str = "boom", message: str = "It broke.") -> None:
    """As a worker would, listeners told."""
    from storage.endings import log_end

    claimed = factories.claim(job_id)
    assert claimed is not None
    error = {"code": code, "message": message, "retryable": False}
    factories.finish(job_id, claimed.attempt, "failed", error=error)
    log_end(factories.load(job_id))


def problem(response: httpx.Response, status: int) -> Json:
    """The answer's body, which must be a problem of this status in the contract's form."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    body: Json = response.json()
    assert body.keys() - {"errors", "success", "error"} == PROBLEM
    assert body["status"] == status
    assert body["type"] == f"urn:backchannel:{body['code']}"
    assert body["detail"].endswith((".", "…"))
    assert len(response.content) < 10_000
    assert not any(sign in response.text for sign in INSIDE)
    return body


def faithh_problem(response: httpx.Response, status: int) -> Json:
    body = problem(response, status)
    assert body["success"] is False
    assert body["error"] == body["detail"]
    return body


def fields(body: Json) -> set[str]:
    return {item["field"] for item in body["errors"]}
