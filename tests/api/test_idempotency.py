"""Idempotency-Key: the same request twice is one job."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tests import factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import job_ids, problem, work

Client = TestClient[Litestar]
Post = Callable[[httpx.Client, str, str], httpx.Response]


def to_jobs(client: httpx.Client, key: str, word: str) -> httpx.Response:
    return client.post("/api/jobs", json={"kind": "noop", "input": {"echo": word}}, headers={"idempotency-key": key})


def to_chat(client: httpx.Client, key: str, word: str) -> httpx.Response:
    headers = {"idempotency-key": key, "prefer": "respond-async"}
    return client.post("/api/chat", json={"message": word, "use_rag": False}, headers=headers)


def to_imports(client: httpx.Client, key: str, word: str) -> httpx.Response:
    return client.post("/api/imports", files={"file": ("a.json", word.encode())}, headers={"idempotency-key": key})


every_door = pytest.mark.parametrize("post", [to_jobs, to_chat, to_imports])


@every_door
def test_the_same_request_is_the_same_job(client: Client, post: Post) -> None:
    first = post(client, "a-key", "one")
    again = post(client, "a-key", "one")
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == again.headers["location"]
    assert post(client, "another-key", "one").json()["id"] != first.json()["id"]
    assert len(job_ids()) == 2


@every_door
def test_the_same_key_for_another_request_is_422(client: Client, post: Post) -> None:
    post(client, "a-key", "one")
    assert "Idempotency-Key" in problem(post(client, "a-key", "two"), 422)["detail"]
    assert len(job_ids()) == 1


def test_another_door_is_another_request(client: Client) -> None:
    to_jobs(client, "a-key", "one")
    problem(to_imports(client, "a-key", "one"), 422)


def test_the_order_of_fields_is_no_difference(client: Client) -> None:
    headers = {"idempotency-key": "k", "content-type": "application/json"}
    first = client.post("/api/jobs", content=b'{"kind":"noop","priority":1}', headers=headers).json()
    assert client.post("/api/jobs", content=b'{"priority": 1, "kind": "noop"}', headers=headers).json() == first


@every_door
def test_unusable_keys_are_400(client: Client, post: Post) -> None:
    for key in ("", "with space", "x" * 256, "tab\tkey"):
        problem(post(client, key, "one"), 400)
    response = client.post("/api/jobs", json={"kind": "noop"}, headers={b"idempotency-key": "clé".encode()})  # type: ignore[arg-type]
    problem(response, 400)
    assert job_ids() == []
    assert post(client, "x" * 255, "one").status_code == 202
    assert post(client, '!"#~', "one").status_code == 202


@every_door
def test_two_at_once_are_one(live: Listening, post: Post) -> None:
    calls = [lambda: post(live.client, "a-key", "one") for _ in range(4)]
    answers = factories.at_once(*calls)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(job_ids()) == 1


def test_a_question_asked_twice_is_there_once(live: Listening) -> None:
    factories.at_once(*[lambda: to_chat(live.client, "a-key", "one") for _ in range(4)])
    assert live.client.get("/api/chat/history").json()["total_count"] == 1


def test_a_repeated_request_gets_the_finished_job(client: Client) -> None:
    job_id = to_jobs(client, "a-key", "one").json()["id"]
    work(job_id)
    again = to_jobs(client, "a-key", "one")
    assert (again.status_code, again.json()["status"]) == (202, "succeeded")


def test_a_known_request_passes_a_full_queue(start: Start) -> None:
    client = start(QUEUE_LIMIT="1")
    first = to_jobs(client, "a-key", "one").json()
    assert to_jobs(client, "a-key", "one").json() == first
    problem(to_jobs(client, "another-key", "one"), 429)
