"""What a retried job leaves in its log, and in which order it is sent."""

from __future__ import annotations

import pytest
from litestar.testing import TestClient

from config.queues import Kind
from storage import queue
from storage.connections import redis_client
from storage.events import EventLog
from tests import factories


def test_a_retry_is_in_the_log_before_a_worker_can_begin(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker quicker than the log would find a number missing, take the log for lost and begin the answer anew."""
    log, job_id = EventLog(redis_client()), factories.running(Kind.CHAT).id
    factories.finish(job_id, status="failed", event_seq=2, error={"code": "x", "message": "y", "retryable": False})
    log.try_append_end(job_id, 1, {"type": "error"}, 2)
    seen: list[list[str]] = []
    monkeypatch.setattr(queue, "send", lambda *_: seen.append([event.type for event in log.read(job_id)]))
    assert client.post(f"/api/jobs/{job_id}/retry").status_code == 202
    assert seen == [["error", "queued"]]
