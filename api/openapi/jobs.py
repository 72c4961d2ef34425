"""Jobs, their events, and what every address that makes a job answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict
from typing_extensions import TypedDict

from api.openapi.shapes import (
    Answer,
    Count,
    Id,
    Media,
    Milliseconds,
    Operation,
    Sent,
    Time,
    eg,
    ok,
)
from config.queues import Kind

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Progress(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # kinds count more things

    done: Count
    total: Count | None
    unit: Annotated[str, eg("bytes")]


class Place(TypedDict):
    position: Annotated[int, eg(1, "1 is next")]
    eta_seconds: Annotated[float | None, eg(4.2, "Until its turn, where that can be told")]


class JobError(TypedDict):
    code: Annotated[str, eg("model_unavailable")]
    message: Annotated[str, eg("The model is not there right now.")]
    retryable: Annotated[bool, eg(True)]


class JobLinks(TypedDict):
    self: Annotated[str, eg("/api/jobs/019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10")]
    events: Annotated[str, eg("/api/jobs/019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10/events")]
    cancel: Annotated[str, eg("/api/jobs/019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10/cancel")]
    retry: Annotated[str, eg("/api/jobs/019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10/retry")]


class Job(TypedDict):
    id: Id
    kind: Annotated[Kind, eg("chat")]
    status: Annotated[Status, eg("queued")]
    priority: Annotated[int, eg(5, "9 is most urgent")]
    attempt: Annotated[int, eg(0, "How often a worker has begun it")]
    progress: Annotated[Progress | None, eg(None)]
    queue: Annotated[Place | None, eg({"position": 1, "eta_seconds": 4.2})]
    blocked_by: Annotated[str | None, eg(None, "In words, why it waits")]
    conversation_id: Id | None
    created_at: Time
    started_at: Annotated[Time | None, eg(None)]
    finished_at: Annotated[Time | None, eg(None)]
    queue_ms: Annotated[Milliseconds | None, eg(None)]
    ttft_ms: Annotated[Milliseconds | None, eg(None, "Until the first token, from the request on")]
    run_ms: Annotated[Milliseconds | None, eg(None)]
    result: Annotated[dict[str, Any] | None, eg(None, "By its kind")]
    error: Annotated[JobError | None, eg(None)]
    links: JobLinks


class JobList(TypedDict):
    jobs: list[Job]
    total: Count
    limit: Annotated[int, eg(50)]
    next_cursor: Annotated[str | None, eg(None, "The `cursor` of the next page")]


def job(answer: Answer, *errors: int, sent: Mapping[str, Any] | Sent | None = None, **more: Any) -> Operation:
    """At once the job (202), or what came of it (200) when it was done within the wait."""
    example = sent if isinstance(sent, Sent) or sent is None else Sent(sent)
    return Operation({200: answer, 202: Job}, example, errors, makes_job=True, **more)


EVENTS = Media(
    "text/event-stream",
    'retry: 1000\n\nid: 1\ndata: {"type":"queued","job_id":"019a9c5e-…","sequence_number":1}\n\n'
    'id: 2\ndata: {"type":"content","content":"Prune","job_id":"019a9c5e-…","sequence_number":2}\n\n'
    'id: 3\ndata: {"type":"done","response":{},"job_id":"019a9c5e-…","sequence_number":3}\n\n',
)

_SUBMITTED = Sent(
    examples={
        "chat": {"kind": "chat", "input": {"message": "How do I prune roses?"}, "priority": 5},
        "import": {
            "kind": "import",
            "input": {"url": "https://chatgpt.com/share/68a1b2c3-0000-8000-8000-000000000000"},
        },
        "summarize": {"kind": "summarize", "input": {"conversation_id": "019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10"}},
        "embed": {"kind": "embed", "input": {"rebuild": False}},
        "pull": {"kind": "pull", "input": {"model": "Qwen/Qwen2.5-7B-Instruct-GGUF:Q4_K_M"}},
    }
)

OPERATIONS: dict[str, Operation] = {
    "POST /api/jobs": job(Job, 403, 404, 409, sent=_SUBMITTED),
    "GET /api/jobs": ok(JobList),
    "GET /api/jobs/{job_id}": ok(Job),
    "POST /api/jobs/{job_id}/cancel": ok(Job),
    "POST /api/jobs/{job_id}/retry": ok(Job, 409, status=202),
    "GET /api/jobs/{job_id}/events": ok(EVENTS),
}
