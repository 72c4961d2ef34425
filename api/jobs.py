"""/api/jobs: submit, look, cancel, retry."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from litestar import Controller, Response, get, post
from litestar.params import FromPath, FromQuery, Parameter

from api.intake import AnyRequest, builder, submit
from api.schemas import JobIn, parse_input
from api.threads import reading as in_thread
from api.threads import writing
from api.views import job_json
from api.waiting import cancel, load_json, preference, respond
from config.errors import Unusable
from config.queues import Kind
from config.settings import get_settings
from storage import jobs, presence, queue
from storage.database import after_commit, reading, transaction
from storage.endings import log_end
from storage.tables import Job

Json = dict[str, Any]
STATUSES = ("queued", "running", *jobs.TERMINAL)


class JobController(Controller):
    path = "/api/jobs"
    tags = ["jobs"]  # noqa: RUF012

    @post("/", status_code=202, summary="Submit a job")
    async def submit(self, request: AnyRequest, data: JobIn) -> Response[Json]:
        body = parse_input(data.kind, data.input)
        webhook_url = str(data.webhook_url) if data.webhook_url else None
        build = builder(data.kind, body, request.user.id, priority=data.priority, webhook_url=webhook_url)
        job = await submit(request, data.kind, build, data.model_dump(mode="json"))
        hold = getattr(body, "cancel_on_disconnect", False)
        return await respond(request, job, preference(request, default_wait_s=0), cancel_on_disconnect=hold)

    @get("/", summary="Your jobs, newest first")
    async def list(
        self,
        request: AnyRequest,
        kind: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        cursor: Annotated[str | None, Parameter(description="`next_cursor` of the page before")] = None,
        limit: Annotated[int, Parameter(ge=1)] = 50,
    ) -> Json:
        if kind is not None and kind not in [known.value for known in Kind]:
            raise Unusable(f"There is no kind {kind[:64]!r}.")
        if status is not None and status not in STATUSES:
            raise Unusable(f"A job's status is one of {', '.join(STATUSES)}.")
        return await in_thread(_page, request.user.id, kind, status, cursor, min(limit, get_settings().max_page))

    @get("/{job_id:str}", summary="One job")
    async def show(self, request: AnyRequest, job_id: FromPath[str]) -> Json:
        _, body = await in_thread(load_json, request.user.id, job_id)
        return body

    @post("/{job_id:str}/cancel", status_code=200, summary="Stop a job")
    async def cancel(self, request: AnyRequest, job_id: FromPath[str]) -> Json:
        await writing(cancel, job_id, request.user.id)
        _, body = await in_thread(load_json, request.user.id, job_id)
        return body

    @post("/{job_id:str}/retry", status_code=202, summary="Run a failed or cancelled job again")
    async def retry(self, request: AnyRequest, job_id: FromPath[str]) -> Response[Json]:
        job = await writing(_replay, job_id, request.user.id)
        _, body = await in_thread(load_json, request.user.id, job.id)
        return Response(body, status_code=202, headers={"Location": f"/api/jobs/{job.id}"})


def _page(owner_id: str, kind: str | None, status: str | None, cursor: str | None, limit: int) -> Json:
    try:
        workers = presence.present()
    except Exception:  # a listing is worth having without knowing who is alive
        workers = []
    with reading() as session:
        rows = jobs.page(session, owner_id, kind=kind, status=status, before=cursor, limit=limit + 1)
        total = jobs.count(session, owner_id, kind=kind, status=status)
        shown = [job_json(session, row, workers) for row in rows[:limit]]
    return {
        "jobs": shown,
        "total": total,
        "limit": limit,
        "next_cursor": shown[-1]["id"] if len(rows) > limit else None,
    }


def _replay(job_id: str, owner_id: str) -> Job:
    with transaction() as session:
        job = jobs.replay(session, job_id, owner_id)
        # In the log before a worker can begin: an attempt that misses this number takes the log for lost.
        after_commit(session, partial(log_end, job))
        queue.send_after_commit(session, [job])
    return job
