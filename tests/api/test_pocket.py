"""PocketLLM's chat and administration."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import update
from sqlmodel import col

from api import callers
from api.pocket import percentiles
from config.queues import Kind
from storage import answer_cache
from storage.database import transaction
from storage.tables import LOCAL_OWNER, User
from tests import factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import fields, newest_job, problem, work

Client = TestClient[Litestar]


def test_a_prompt_is_answered_and_kept(live: Listening, meanwhile: Callable[..., Future[Any]]) -> None:
    client = live.client
    waiting = meanwhile(client.post, "/chat", json={"prompt": "Hello, how are you?", "use_rag": False})
    work(newest_job())
    told = waiting.result().json()
    assert waiting.result().status_code == 200
    assert told.keys() >= {"response", "session_id", "model", "cached", "tokens", "timestamp"}
    assert told["cached"] is False

    listed = client.get("/chat/history").json()
    (session,) = listed["sessions"]
    assert (listed["total"], session["session_id"], session["message_count"]) == (1, told["session_id"], 2)
    shown = client.get(f"/chat/history/{told['session_id']}").json()
    assert shown["session_id"] == told["session_id"]
    assert [message["content"] for message in shown["messages"]] == ["Hello, how are you?", told["response"]]
    # the same conversation by the other doors
    assert client.get("/api/chat/history").json()["total_count"] == 2
    assert len(client.get(f"/api/sessions/{told['session_id']}/history").json()["turns"]) == 2

    assert client.delete(f"/chat/history/{told['session_id']}").json()["success"] is True
    problem(client.get(f"/chat/history/{told['session_id']}"), 404)
    assert client.get("/chat/history").json()["total"] == 0


def test_unusable_prompts_are_422(client: Client) -> None:
    for body in ({}, {"prompt": ""}, {"prompt": "\0"}, {"prompt": None}):
        assert fields(problem(client.post("/chat", json=body), 422)) == {"prompt"}
    assert fields(problem(client.post("/chat", json={"prompt": "a", "cache": "perhaps"}), 422)) == {"cache"}


def test_a_prompt_may_be_left_to_later(client: Client) -> None:
    later = client.post("/chat", json={"prompt": "Hello"}, headers={"prefer": "respond-async"})
    assert (later.status_code, later.json()["kind"]) == (202, "chat")


def test_somebody_elses_history_is_404(client: Client) -> None:
    session_id = factories.conversation(factories.owner())
    problem(client.get(f"/chat/history/{session_id}"), 404)
    problem(client.delete(f"/chat/history/{session_id}"), 404)


# --- administration


def test_metrics_are_of_the_rows(client: Client) -> None:
    job_id = client.post("/chat", json={"prompt": "Hi", "use_rag": False}, headers={"prefer": "respond-async"})
    work(job_id.json()["id"])
    factories.job(Kind.CHAT)
    body = client.get("/admin/metrics").json()
    assert body["requests"].items() >= {"total": 2, "succeeded": 1, "queued": 1, "failed": 0}.items()
    assert body["tokens"]["answers"] == 1
    assert body["tokens"]["total"] == body["tokens"]["prompt"] + body["tokens"]["completion"]
    chat = body["latency_ms"]["chat"]
    assert chat["jobs"] == 1
    assert chat["run"].keys() == {"p50", "p90", "p95", "p99"}
    assert chat["run"]["p50"] >= 0
    assert body["queues"]["chat"]["queued"] == 1
    assert body["processes"][0]["name"] == "web"
    assert body["processes"][0]["memory_bytes"] > 2**20
    assert body["sessions"].items() >= {"count": 1, "users": 1, "active": 1}.items()
    assert {"cpu_usage", "memory_usage", "cache"} <= body.keys()


def test_the_cache_is_shown_and_flushed(client: Client) -> None:
    assert client.get("/admin/cache/stats").json().items() >= {"enabled": True, "entries": 0, "hit_rate": None}.items()
    _, ticket = answer_cache.find(LOCAL_OWNER, "key")
    assert ticket is not None
    answer_cache.put(ticket, {"content": "x"})
    answer_cache.find(LOCAL_OWNER, "key")
    told = client.get("/admin/cache/stats").json()
    assert (told["entries"], told["hits"], told["misses"], told["hit_rate"]) == (1, 1, 1, 0.5)
    assert client.post("/admin/cache/flush").json() == {"success": True, "message": "Cache flushed", "flushed": 1}
    assert client.get("/admin/cache/stats").json()["entries"] == 0


def test_sessions_are_counted(client: Client) -> None:
    client.post("/api/sessions")
    factories.conversation(factories.owner())
    assert client.get("/admin/sessions/count").json() == {"count": 2, "users": 2, "active": 0}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/metrics"),
        ("POST", "/admin/cache/flush"),
        ("GET", "/admin/cache/stats"),
        ("GET", "/admin/sessions/count"),
        ("GET", "/admin/model/info"),
        ("GET", "/api/workspace/scan"),
    ],
)
def test_administration_is_for_admins(start: Start, monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    monkeypatch.setattr("api.auth.OWNER", callers.Caller(LOCAL_OWNER, "user"))
    with transaction() as session:
        session.execute(update(User).where(col(User.id) == LOCAL_OWNER).values(role="user"))
    problem(start().request(method, path), 403)


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_percentiles_are_values_in_order(values: list[float]) -> None:
    told = list(percentiles(sorted(values)).values())
    assert told == sorted(told)
    assert set(told) <= set(values)
    assert sum(value <= told[0] for value in values) * 2 >= len(values)
    assert percentiles([7.0]) == {"p50": 7.0, "p90": 7.0, "p95": 7.0, "p99": 7.0}
