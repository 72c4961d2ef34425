"""/health costs nothing; /api/status tells of every part, also of one that is away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from config.settings import reset_settings
from storage import chunks, database, presence
from storage.connections import close_clients
from storage.ids import new_id
from storage.presence import WorkerPresence
from storage.vectors import VectorIndex
from tests import factories
from tests.api.conftest import Start

Client = TestClient[Litestar]


def test_health_asks_nobody(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("storage was asked")

    monkeypatch.setattr(database, "_get_engines", asked)
    monkeypatch.setattr("storage.connections.redis_client", asked)
    monkeypatch.setattr("api.status.redis_client", asked)
    monkeypatch.setattr("anyio.to_thread.run_sync", asked)
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json()["status"] == "healthy"


def test_status_without_workers_is_degraded(client: Client) -> None:
    body = client.get("/api/status").json()
    assert (body["success"], body["status"]) == (True, "degraded")
    services = body["services"]
    assert (services["database"]["status"], services["redis"]["status"]) == ("online", "online")
    assert services["chromadb"]["status"] == "offline"
    assert {"status", "documents", "health"} <= services["chromadb"].keys()
    assert body["missing_workers"] == ["generate", "index", "voice", "background"]
    assert body["queues"]["noop"] == {"queued": 0, "running": 0, "limit": 10_000}
    assert {"uptime", "cpu_usage", "memory_usage"} <= body["server"].keys()
    assert body["server"]["listeners"] == 0


def test_status_counts_what_is_there(start: Start, chroma: str, tmp_path: Path) -> None:
    client = start(CHROMA_URL=chroma, WORKSPACE_DIR=str(tmp_path / "project"))
    before = client.get("/api/status").json()
    told = before["services"]["chromadb"]
    assert (told["status"], told["health"], told["documents"]) == ("online", True, 0)
    VectorIndex(f"status-{new_id()}").upsert(["a"], np.ones((1, 4), np.float32), [{"owner_id": "x"}])
    client.post("/api/chat", json={"message": "Hello"}, headers={"prefer": "respond-async"})
    body = client.get("/api/status").json()
    assert body["services"]["chromadb"]["collections"] == told["collections"] + 1
    assert (before["server"]["active_sessions"], body["server"]["active_sessions"]) == (0, 1)
    assert body["workspace"] == {"upload_folder": "blobs", "uploaded_files": 0, "folder": "project"}


def test_status_tells_of_queues_and_workers(client: Client) -> None:
    factories.job()
    factories.running()
    presence.report(
        WorkerPresence("generate", ["chat"], slots=3, state="ready", busy=1, models={"chat": {"name": "m"}})
    )
    body = client.get("/api/status").json()
    assert body["queues"]["noop"] | {"limit": 0} == {"queued": 1, "running": 1, "limit": 0}
    (worker,) = body["workers"]
    assert (worker["name"], worker["state"], worker["slots"], worker["busy"]) == ("generate", "ready", 3, 1)
    assert body["missing_workers"] == ["index", "voice", "background"]
    assert body["models"] == {"chat": {"name": "m"}}


def test_status_without_redis_still_answers(start: Start, settings: pytest.MonkeyPatch) -> None:
    client = start()
    close_clients()
    settings.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
    reset_settings()
    response = client.get("/api/status")
    assert response.status_code == 200
    body = response.json()
    assert (body["success"], body["status"]) == (True, "degraded")
    assert body["services"]["redis"] == {"status": "offline", "reason": "ConnectionError"}
    assert body["services"]["database"]["status"] == "online"
    assert client.get("/health").json()["status"] == "healthy"


def test_everything_that_needs_no_redis_works_without_it(start: Start, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
    close_clients()
    client = start(LOG_LEVEL="ERROR")
    assert client.get("/api/status").json()["services"]["redis"]["status"] == "offline"
    job = client.post("/api/jobs", json={"kind": "noop"}).json()
    assert job["blocked_by"] == "the queue (Redis) cannot be reached"
    assert client.get("/api/jobs").json()["total"] == 1
    assert client.post(f"/api/jobs/{job['id']}/cancel").json()["status"] == "cancelled"
    assert client.get("/api/chat/history").status_code == 200


def test_status_without_the_database_still_answers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def away(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, OSError("password=secret"))

    monkeypatch.setattr(chunks, "count", away)
    response = client.get("/api/status")
    assert response.status_code == 200
    assert response.json()["services"]["database"] == {"status": "offline", "reason": "OperationalError"}
    assert "secret" not in response.text


def test_status_names_no_path(client: Client) -> None:
    assert "/tmp" not in client.get("/api/status").text


def test_the_documentation_is_where_the_root_says(client: Client) -> None:
    root = client.get("/").json()
    assert client.get(root["health"]).json()["status"] == "healthy"
    schema = client.get(root["api"]).json()
    assert {"/api/jobs", "/api/jobs/{job_id}/events", "/api/chat", "/api/imports"} <= schema["paths"].keys()
    for path in (root["docs"], "/redoc"):
        page = client.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assert "Backchannel" in page.text
