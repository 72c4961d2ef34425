"""Prefer (RFC 7240): answered at once, or held until the job has ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tests.api.conftest import Listening, Start
from tests.api.helpers import newest_job, work

Client = TestClient[Litestar]
Meanwhile = Callable[..., Future[Any]]


def ask(client: httpx.Client, *prefer: str, path: str = "/api/chat") -> httpx.Response:
    body = {"/api/chat": {"message": "Hello", "use_rag": False}, "/api/jobs": {"kind": "noop"}}[path]
    return client.post(path, json=body, headers=[("prefer", value) for value in prefer])


def test_respond_async_is_answered_at_once(client: Client) -> None:
    for prefer in [
        ("respond-async",),
        ("Respond-Async",),
        ("return=minimal, respond-async",),
        ("return=minimal", "respond-async"),
        ("respond-async; x=y",),
        ('x="a, wait=100", respond-async',),
        ("respond-async, wait=soon",),
        ("wait=, respond-async",),
    ]:
        response = ask(client, *prefer)
        assert (response.status_code, response.json()["status"]) == (202, "queued")
        assert response.headers["preference-applied"] == "respond-async"
        assert response.headers["location"] == f"/api/jobs/{response.json()['id']}"


def test_a_wait_that_is_over_is_202(client: Client) -> None:
    for prefer in [
        ("wait=0",),
        ("respond-async, wait=0",),
        ("wait=0", "respond-async"),
        ('wait="0"',),
        ("wait=0, wait=100",),
    ]:
        response = ask(client, *prefer)
        assert (response.status_code, response.json()["status"]) == (202, "queued")
        assert response.headers["preference-applied"] == "wait=0"


def test_a_wait_ends(client: Client) -> None:
    assert ask(client, "wait=1").status_code == 202


def test_rubbish_is_no_preference(client: Client) -> None:
    for rubbish in ["", ",", "wait", "wait=soon", "wait=-1", "wait=1.5", '"', "respond-asynchronously"]:
        response = ask(client, rubbish, path="/api/jobs")
        assert (response.status_code, response.json()["status"]) == (202, "queued")
        assert "preference-applied" not in response.headers


def test_a_wait_is_bounded(start: Start) -> None:
    client = start(WAIT_MAX_S="0.2")
    for prefer in ("wait=99999999999999999999", "wait=600"):
        assert ask(client, prefer).status_code == 202
    assert ask(client).status_code == 202  # FAITHH's clients wait no longer either


@pytest.mark.parametrize("prefer", ["wait=20", "respond-async, wait=20"])
def test_a_job_is_waited_for(live: Listening, meanwhile: Meanwhile, prefer: str) -> None:
    waiting = meanwhile(ask, live.client, prefer, path="/api/jobs")
    work(newest_job("noop"))
    response = waiting.result()
    assert (response.status_code, response.json()["status"]) == (200, "succeeded")
    assert response.headers["preference-applied"] == "wait=20"
    assert response.headers["location"] == f"/api/jobs/{response.json()['id']}"


def test_an_import_is_waited_for(live: Listening, meanwhile: Meanwhile) -> None:
    files = {"file": ("conversations.json", b"[]")}
    waiting = meanwhile(live.client.post, "/api/imports", files=files, headers={"prefer": "wait=20"})
    work(newest_job("import"))
    assert waiting.result().status_code == 200
    assert waiting.result().json()["status"] in ("succeeded", "failed")


def test_a_retry_can_be_looked_at_again(live: Listening) -> None:
    job_id = ask(live.client, path="/api/jobs").json()["id"]
    live.client.post(f"/api/jobs/{job_id}/cancel")
    assert live.client.post(f"/api/jobs/{job_id}/retry").status_code == 202
