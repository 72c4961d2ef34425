"""The baseline of `accept`: the same server, framework, body and middleware, and a handler that only sends a task."""

from __future__ import annotations

import sys
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
from litestar import Litestar, Response, get, post
from litestar.plugins.pydantic import PydanticPlugin

from api.auth import gate
from api.errors import HANDLERS
from api.schemas import JobIn
from cli.run import follow_supervisor
from config.celery import celery_app
from config.queues import KINDS
from config.settings import get_settings
from storage.ids import new_id

# As many senders as api.threads lets write at once.
_SENDERS = 4
_limiters: list[anyio.CapacityLimiter] = []


def _send(task: str, queue: str, job_id: str) -> None:
    celery_app.send_task(task, args=[job_id], queue=queue, retry=False)


@post("/api/jobs", status_code=202)
async def submit(data: JobIn) -> Response[dict[str, Any]]:
    if not _limiters:
        _limiters.append(anyio.CapacityLimiter(_SENDERS))  # belongs to the running loop
    job_id, spec = new_id(), KINDS[data.kind]
    await anyio.to_thread.run_sync(_send, spec.task, spec.queue, job_id, limiter=_limiters[0])
    return Response({"id": job_id, "status": "queued"}, status_code=202)


@get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


def create_app() -> Litestar:
    return Litestar(
        route_handlers=[submit, health],
        middleware=[gate],
        exception_handlers=HANDLERS,
        plugins=[PydanticPlugin(prefer_alias=True)],
        logging_config=None,
    )


def main(port: int) -> None:
    follow_supervisor()
    uvicorn.run(
        "benchmarks.bare_web:create_app", factory=True, host=get_settings().host, port=port,
        log_config=None, access_log=False, proxy_headers=False, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]))
