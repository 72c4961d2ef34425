"""/api/jobs: submit, look, list, cancel, retry."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from config.queues import Kind
from storage import presence
from storage.presence import WorkerPresence
from storage.tables import LOCAL_OWNER
from tests import factories
from tests.api.conftest import Start
from tests.api.helpers import Json, fail, problem, work

Client = TestClient[Litestar]
FIELDS = {
    "id", "kind", "status", "priority", "attempt", "progress", "queue", "blocked_by", "created_at", "started_at",
    "finished_at", "queue_ms", "ttft_ms", "run_ms", "result", "error", "links", "conversation_id",
}  # fmt: skip


def submit(client: Client, **body: object) -> Json:
    response = client.post("/api/jobs", json={"kind": "noop", **body})
    assert response.status_code == 202, response.text
    return response.json()


def show(client: Client, job_id: str) -> Json:
    response = client.get(f"/api/jobs/{job_id}")
    assert response.status_code == 200
    return response.json()


def worker(state: str = "ready", busy: int = 0, queues: tuple[str, ...] = ("noop",)) -> None:
    presence.report(WorkerPresence("background", list(queues), slots=2, state=state, busy=busy))  # type: ignore[arg-type]


def test_a_job_is_accepted_with_its_address(client: Client) -> None:
    response = client.post("/api/jobs", json={"kind": "noop", "input": {"echo": [1, "é"]}, "priority": 7})
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/api/jobs/{job['id']}"
    assert job == show(client, job["id"])
    assert job.keys() == FIELDS
    assert (job["kind"], job["status"], job["priority"], job["attempt"]) == ("noop", "queued", 7, 0)
    assert job["links"] == {
        "self": f"/api/jobs/{job['id']}",
        "events": f"/api/jobs/{job['id']}/events",
        "cancel": f"/api/jobs/{job['id']}/cancel",
        "retry": f"/api/jobs/{job['id']}/retry",
    }
    assert job["created_at"].endswith("Z")
    assert job["queue"] == {"position": 1, "eta_seconds": None}


def test_a_finished_job_has_its_result_and_times(client: Client) -> None:
    job_id = submit(client, input={"echo": {"a": [None, "\U0001f600"]}})["id"]
    work(job_id)
    job = show(client, job_id)
    assert job.keys() == FIELDS
    assert (job["status"], job["attempt"], job["error"]) == ("succeeded", 1, None)
    assert job["result"] == {"echo": {"a": [None, "\U0001f600"]}}
    assert job["queue"] is None
    assert job["blocked_by"] is None
    assert all(job[name].endswith("Z") for name in ("created_at", "started_at", "finished_at"))
    assert job["queue_ms"] >= 0
    assert job["run_ms"] >= 0
    # now that one has run, the next one's end can be guessed
    assert submit(client)["queue"]["eta_seconds"] is not None


def test_a_failed_job_has_its_error(client: Client) -> None:
    job_id = submit(client)["id"]
    fail(job_id)
    assert show(client, job_id)["error"] == {"code": "boom", "message": "It broke.", "retryable": False}


def test_what_a_job_waits_for_is_said_in_words(client: Client) -> None:
    job_id = submit(client)["id"]
    assert show(client, job_id)["blocked_by"] == "no worker is serving the noop queue (background worker)"
    worker(queues=("chat",))
    assert "no worker" in show(client, job_id)["blocked_by"]
    worker(state="loading")
    assert show(client, job_id)["blocked_by"] == "the model is loading"
    worker(busy=2)
    assert show(client, job_id)["blocked_by"] == "all 2 slots of the background worker are busy"
    worker()
    assert show(client, job_id)["blocked_by"] is None
    factories.change(job_id, run_after=factories.ago(-60))
    assert show(client, job_id)["blocked_by"].startswith("retry due at 2")


def test_the_second_of_a_line_says_who_goes_first(client: Client) -> None:
    first, second = submit(client, kind="embed")["id"], submit(client, kind="embed")["id"]
    assert first in show(client, second)["blocked_by"]


def test_the_position_counts_who_goes_first(client: Client) -> None:
    ids = [submit(client, priority=priority)["id"] for priority in (5, 5, 9, 0)]
    assert [show(client, job_id)["queue"]["position"] for job_id in ids] == [2, 3, 1, 4]
    work(ids[2])
    assert [show(client, job_id)["queue"]["position"] for job_id in (ids[0], ids[1], ids[3])] == [1, 2, 3]


# --- places, with a model that tells them


def generate(*, busy: int = 0, models: Json | None = None, state: str = "ready", **engine: Any) -> None:
    told = {"slots": 4, "running": 0, "waiting": 0, "tokens_per_second": 0.0, "answer_s": None, "jobs": {}} | engine
    presence.report(
        WorkerPresence("generate", ["chat", "summarize"], 32, state, busy, models or {}, engine=told)  # type: ignore[arg-type]
    )


def test_the_place_counts_what_waits_in_the_model(client: Client) -> None:
    ids = [factories.job(Kind.CHAT) for _ in range(2)]
    generate(running=4, waiting=3, answer_s=8.0)
    assert [show(client, job_id)["queue"] for job_id in ids] == [
        {"position": 4, "eta_seconds": 8.0},
        {"position": 5, "eta_seconds": 10.0},
    ]
    generate(running=3, answer_s=8.0)  # one slot is free
    assert [show(client, job_id)["queue"]["eta_seconds"] for job_id in ids] == [0.0, 2.0]


def test_without_a_finished_answer_no_time_is_told(client: Client) -> None:
    job_id = factories.job(Kind.CHAT)
    generate(running=4, waiting=1)
    assert show(client, job_id)["queue"] == {"position": 2, "eta_seconds": None}


def test_who_is_taken_on_but_waits_for_a_slot_is_told_so(client: Client) -> None:
    waits, writes = factories.running(Kind.CHAT).id, factories.running(Kind.CHAT).id
    generate(running=4, waiting=2, answer_s=8.0, jobs={waits: [2, 3.14159], "another": [1, None]})
    listed = {job["id"]: job for job in client.get("/api/jobs").json()["jobs"]}
    assert listed == {job_id: show(client, job_id) for job_id in (waits, writes)}
    assert listed[waits]["status"] == "running"
    assert listed[waits]["queue"] == {"position": 2, "eta_seconds": 3.1}
    assert listed[waits]["blocked_by"] == "waiting for a free slot of the model"
    assert (listed[writes]["queue"], listed[writes]["blocked_by"]) == (None, None)


def test_a_model_that_loads_says_how_far_it_is(client: Client) -> None:
    job_id = factories.job(Kind.CHAT)
    generate(state="loading", models={"language": {"name": "m", "state": "loading", "progress": 0.4234}})
    assert show(client, job_id)["blocked_by"] == "the model is loading (42 %)"
    generate(state="loading", models={"language": {"name": "m", "state": "loading", "progress": None}})
    assert show(client, job_id)["blocked_by"] == "the model is loading"


# --- bounds


def test_a_full_queue_is_429(start: Start) -> None:
    client = start(QUEUE_LIMIT="2")
    first, _ = submit(client)["id"], submit(client)
    response = client.post("/api/jobs", json={"kind": "noop"})
    assert problem(response, 429)["code"] == "queue_full"
    assert int(response.headers["retry-after"]) > 0
    assert client.get("/api/jobs").json()["total"] == 2
    assert submit(client, kind="embed")  # another queue has room
    work(first)
    submit(client)


def test_a_full_queue_takes_no_question(start: Start) -> None:
    client = start(QUEUE_LIMIT="1")
    ask = {"message": "Hello"}
    later = {"prefer": "respond-async"}
    assert client.post("/api/chat", json=ask, headers=later).status_code == 202
    problem(client.post("/api/chat", json=ask, headers=later), 429)
    assert client.get("/api/chat/history").json()["total_count"] == 1


def test_a_full_queue_takes_no_file(start: Start) -> None:
    client = start(QUEUE_LIMIT="1")
    files = {"file": ("a.json", b"[]")}
    assert client.post("/api/imports", files=files).status_code == 202
    problem(client.post("/api/imports", files=files), 429)


def test_one_caller_cannot_fill_a_queue(start: Start) -> None:
    client = start(OWNER_QUEUE_LIMIT="1")
    factories.job(owner_id=factories.owner())
    submit(client)
    problem(client.post("/api/jobs", json={"kind": "noop"}), 429)


# --- cancel and retry


def test_a_waiting_job_is_cancelled_at_once(client: Client) -> None:
    job_id = submit(client)["id"]
    for _ in range(2):  # to cancel what is cancelled changes nothing
        response = client.post(f"/api/jobs/{job_id}/cancel")
        assert response.status_code == 200
        assert response.json()["status"] == "cancelled"
    work(job_id)  # its message may still be on the queue
    assert show(client, job_id)["status"] == "cancelled"


def test_a_running_job_is_asked_to_stop(client: Client) -> None:
    claimed = factories.running()
    assert client.post(f"/api/jobs/{claimed.id}/cancel").json()["status"] == "running"
    assert factories.load(claimed.id).cancel_requested


def test_an_ended_job_stays_as_it_ended(client: Client) -> None:
    job_id = submit(client)["id"]
    work(job_id)
    assert client.post(f"/api/jobs/{job_id}/cancel").json()["status"] == "succeeded"


def test_a_cancelled_job_lets_the_next_of_its_line_go(client: Client) -> None:
    first, second = submit(client, kind="embed")["id"], submit(client, kind="embed")["id"]
    client.post(f"/api/jobs/{first}/cancel")
    assert first not in (show(client, second)["blocked_by"] or "")


def test_failed_and_cancelled_jobs_run_again(client: Client) -> None:
    cancelled, failed = submit(client)["id"], submit(client)["id"]
    client.post(f"/api/jobs/{cancelled}/cancel")
    fail(failed)
    for job_id in (cancelled, failed):
        response = client.post(f"/api/jobs/{job_id}/retry")
        assert response.status_code == 202
        assert response.headers["location"] == f"/api/jobs/{job_id}"
        assert response.json()["id"] == job_id
        assert (response.json()["status"], response.json()["error"]) == ("queued", None)
        work(job_id)
        assert show(client, job_id)["status"] == "succeeded"


def test_nothing_else_is_retried(client: Client) -> None:
    waiting, done, running = submit(client)["id"], submit(client)["id"], factories.running().id
    work(done)
    for job_id in (waiting, done, running):
        problem(client.post(f"/api/jobs/{job_id}/retry"), 409)


# --- listings


def test_listings_are_newest_first_in_pages(client: Client) -> None:
    ids = [factories.job() for _ in range(7)][::-1]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get("/api/jobs", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        assert (page["total"], page["limit"]) == (7, 3)
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        factories.job(owner_id=factories.owner())  # what comes meanwhile shifts nothing
    assert seen == ids


def test_a_full_last_page_has_no_next(client: Client) -> None:
    factories.job()
    assert client.get("/api/jobs?limit=1").json()["next_cursor"] is None


def test_pages_are_bounded(start: Start) -> None:
    client = start(MAX_PAGE="3")
    for _ in range(5):
        factories.job()
    for path in ("/api/jobs", "/api/jobs?limit=1000000", "/api/jobs?limit=99999999999999999999999"):
        page = client.get(path).json()
        assert (len(page["jobs"]), page["limit"]) == (3, 3)


def test_listings_are_filtered(client: Client) -> None:
    noop, embed = factories.job(), factories.job(Kind.EMBED)
    done = factories.job()
    work(done)

    def listed(**params: str) -> list[str]:
        page = client.get("/api/jobs", params=params).json()
        assert page["total"] == len(page["jobs"])
        return [job["id"] for job in page["jobs"]]

    assert listed(kind="embed") == [embed]
    assert listed(status="queued") == [embed, noop]
    assert listed(kind="noop", status="succeeded") == [done]
    assert listed(kind="chat") == []
    assert listed(status="running") == []


def test_listed_jobs_look_like_jobs(client: Client) -> None:
    job_id = submit(client)["id"]
    assert client.get("/api/jobs").json()["jobs"] == [show(client, job_id)]


def test_a_listing_does_without_redis(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    def away() -> None:
        raise redis.ConnectionError

    job_id = factories.job(owner_id=LOCAL_OWNER)
    monkeypatch.setattr(presence, "present", away)
    assert client.get("/api/jobs").json()["total"] == 1
    assert show(client, job_id)["blocked_by"] == "the queue (Redis) cannot be reached"
