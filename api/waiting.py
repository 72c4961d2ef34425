"""RFC 7240 Prefer: answer at once with the job, or wait for what it makes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
from litestar import Response

from api.intake import AnyRequest
from api.threads import reading as in_thread
from api.threads import writing
from api.views import job_json
from config.errors import BackchannelError, Conflict, status_of
from config.settings import get_settings
from storage import endings, jobs
from storage.database import Session, reading, transaction
from storage.events import terminal_event
from storage.listeners import EventHub, RowState
from storage.tables import Job

Json = dict[str, Any]
Shape = Callable[[Session, Job], Json]

# One preference with its parameters; commas inside quotes part nothing.
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')


@dataclass(frozen=True, slots=True)
class Preference:
    """How long the caller wants to be held, in seconds; 0 answers at once."""

    wait_s: float
    applied: str | None = None


def preference(request: AnyRequest, default_wait_s: float) -> Preference:
    """`respond-async` wins unless `wait=N` stands beside it, which then bounds the waiting."""
    given: dict[str, str] = {}
    for item in _PREFERENCE.findall(",".join(request.headers.getall("prefer", []))):
        name, _, value = item.partition(";")[0].partition("=")
        given.setdefault(name.strip().lower(), value.strip().strip('"'))  # the first of a name counts
    wait = given.get("wait", "")
    if wait.isascii() and wait.isdecimal():
        wait_s = min(float(wait[:9]), get_settings().wait_max_s)
        return Preference(wait_s, f"wait={wait[:9]}")
    if "respond-async" in given:
        return Preference(0, "respond-async")
    return Preference(default_wait_s)


def read_state(job_id: str) -> RowState:
    with reading() as session:
        job = session.get(Job, job_id)
    return RowState(job.event_seq, terminal_event(job)) if job else RowState(0, None)


async def read_state_async(job_id: str) -> RowState:
    return await in_thread(read_state, job_id)


def load_json(owner_id: str, job_id: str, shape: Shape = job_json) -> tuple[Job, Json]:
    with reading() as session:
        job = jobs.get(session, job_id, owner_id)
        return job, shape(session, job)


def require_job(owner_id: str, job_id: str) -> None:
    """Raises NotFound, also for somebody else's."""
    with reading() as session:
        jobs.get(session, job_id, owner_id)


def _as_accepted(job: Job) -> Json:
    """The job as it was written, without reading it again."""
    with reading() as session:
        return job_json(session, job)


async def respond(
    request: AnyRequest, job: Job, wish: Preference, shape: Shape | None = None, *, cancel_on_disconnect: bool = False
) -> Response[Any]:
    """202 with the job, or, once it has ended within the wait, 200 with its shape. A failed job raises its error."""
    hub: EventHub = request.app.state.hub
    ended = False
    if wish.wait_s > 0:
        ended = await _wait(request, hub, job.id, wish.wait_s, cancel_on_disconnect)
    headers = {"Location": f"/api/jobs/{job.id}", **({"Preference-Applied": wish.applied} if wish.applied else {})}
    if wish.wait_s <= 0:
        return Response(await in_thread(_as_accepted, job), status_code=202, headers=headers)
    done, body = await in_thread(load_json, request.user.id, job.id, job_json)
    if not ended:
        return Response(body, status_code=202, headers=headers)
    if shape is None:
        return Response(body, status_code=200, headers=headers)
    if done.status == "succeeded":
        _, body = await in_thread(load_json, request.user.id, job.id, shape)
        return Response(body, status_code=200, headers=headers)
    if done.status == "cancelled":
        raise Conflict("The job was cancelled before it was done.", headers=headers)
    raise JobFailed(done, headers)


class JobFailed(BackchannelError):
    """A job's own error, as the answer of the request that waited for it."""

    def __init__(self, job: Job, headers: dict[str, str]) -> None:
        error = job.error or {}
        super().__init__(error.get("message", "The job failed."), headers=headers)
        self.code = error.get("code", "internal_error")  # type: ignore[misc]
        self.status = status_of(self.code) or (503 if error.get("retryable") else 500)  # type: ignore[misc]
        self.title = "The job failed"  # type: ignore[misc]


async def _wait(request: AnyRequest, hub: EventHub, job_id: str, wait_s: float, cancel_on_disconnect: bool) -> bool:
    """True when the job ended in time. Leaves early when the caller has gone; the job goes on unless told otherwise."""
    ended = False
    gone = False

    async def listen(scope: anyio.CancelScope) -> None:
        nonlocal ended
        async for event in hub.follow(job_id):
            if event is not None and event.is_terminal:
                ended = True
        scope.cancel()

    async def watch(scope: anyio.CancelScope) -> None:
        nonlocal gone
        while not gone:
            message = await request.receive()
            gone = message["type"] == "http.disconnect"
        scope.cancel()

    with anyio.move_on_after(wait_s):
        async with anyio.create_task_group() as group:
            group.start_soon(listen, group.cancel_scope)
            group.start_soon(watch, group.cancel_scope)
    if gone and not ended and cancel_on_disconnect:
        await writing(cancel, job_id, request.user.id)
    return ended


def cancel(job_id: str, owner_id: str) -> Job:
    with transaction() as session:
        return endings.cancel(session, job_id, owner_id)
