"""Who gets in: by which name the server was called, from which page, and with which sign-in."""

from __future__ import annotations

import httpx
import pytest
from litestar import Litestar
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from tests import factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import problem

Client = TestClient[Litestar]
OURS = "http://127.0.0.1:8000"


def called(client: Client, host: str, **headers: str) -> httpx.Response:
    return client.post("/api/sessions", headers={"host": host, **headers})


def opens(client: Client, **headers: str) -> int:
    """0 when the WebSocket opens, else the code it is closed with."""
    try:
        with client.websocket_connect("/ws/jobs", headers=headers):
            return 0
    except WebSocketDisconnect as closed:
        return closed.code


# --- Host


def test_loopback_names_are_ours(client: Client) -> None:
    for host in [
        "127.0.0.1",
        "127.0.0.1:8000",
        "127.8.9.1:1",
        "localhost",
        "LocalHost:8000",
        "[::1]",
        "[::1]:8000",
        "[0::1]",
    ]:
        assert called(client, host).status_code == 201
        assert opens(client, host=host) == 0


def test_other_names_are_refused(client: Client) -> None:
    for host in [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "10.0.0.1",
        "[2001:db8::1]:8000",
        "0.0.0.0",
    ]:
        problem(called(client, host), 403)
        problem(client.get("/api/jobs", headers={"host": host}), 403)
        assert opens(client, host=host) == 4403


def test_a_host_that_is_none_is_400(client: Client) -> None:
    for host in ["", " ", ":8000", "[", "[::1", "a b", "x@127.0.0.1", "127.0.0.1/x", "127.0.0.1:port"]:
        problem(called(client, host), 400)
        assert opens(client, host=host) in (4400, 4500)  # the framework finds some of them first


def test_two_hosts_are_none(client: Client) -> None:
    headers = [("host", "127.0.0.1"), ("host", "evil.example")]
    problem(client.get("/health", headers=headers), 400)


def test_allowed_hosts_are_ours(start: Start) -> None:
    client = start(ALLOWED_HOSTS="Box.local, 10.0.0.1:8000")
    for host in ("box.local", "BOX.LOCAL:8000", "10.0.0.1:8000", "localhost"):
        assert called(client, host).status_code == 201, host
    for host in ("10.0.0.1:9000", "other.local"):
        problem(called(client, host), 403)


# --- Origin


def test_pages_elsewhere_change_nothing(client: Client) -> None:
    for origin in [
        "https://evil.example",
        "null",
        "",
        "/",
        "http://127.0.0.1:3000",
        "http://localhost:8000",
        "http://127.0.0.1:8000.evil.example",
        "http://x@127.0.0.1:8000",
        "http://[",
        "file://",
    ]:
        job_id = factories.job()
        for path in ("/api/sessions", f"/api/jobs/{job_id}/cancel"):
            problem(client.post(path, headers={"origin": origin}), 403)
        problem(client.delete("/api/chat/history", headers={"origin": origin}), 403)
        assert opens(client, origin=origin) == 4403
        assert factories.load(job_id).status == "queued"


def test_our_own_pages_may(client: Client) -> None:
    for host, origin in (
        ("127.0.0.1:8000", OURS),
        ("LOCALHOST:8000", "http://localhost:8000"),
        ("[::1]", "http://[::1]"),
    ):
        assert called(client, host, origin=origin).status_code == 201
        assert opens(client, host=host, origin=origin) == 0


def test_named_pages_may(start: Start) -> None:
    client = start(CORS_ORIGINS="https://App.example/, http://localhost:3000", FRONTEND_URL="http://front.example/")
    for origin in ("https://app.example", "http://localhost:3000", "http://front.example"):
        assert called(client, "127.0.0.1", origin=origin).status_code == 201, origin
        assert opens(client, origin=origin) == 0
    problem(called(client, "127.0.0.1", origin="http://app.example"), 403)


# --- CORS


def preflight(client: Client, origin: str) -> httpx.Response:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "idempotency-key"}
    return client.options("/api/jobs", headers={"origin": origin, **asked})


def test_no_origin_is_reflected(client: Client) -> None:
    for response in (
        client.get("/api/jobs", headers={"origin": "https://evil.example"}),
        preflight(client, "https://evil.example"),
    ):
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_cors_names_configured_origins_only(start: Start) -> None:
    client = start(CORS_ORIGINS="https://app.example")
    asked = preflight(client, "https://app.example")
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == "https://app.example"
    assert "idempotency-key" in asked.headers["access-control-allow-headers"]
    for path in ("/api/jobs", "/nope"):
        answer = client.get(path, headers={"origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "Location" in answer.headers["access-control-expose-headers"]
    for response in (
        preflight(client, "https://evil.example"),
        client.get("/api/jobs", headers={"origin": "https://evil.example"}),
    ):
        assert "access-control-allow-origin" not in response.headers


# --- sign-in


def test_required_means_401_but_for_what_tells_nothing(start: Start) -> None:
    client = start(AUTH_MODE="required")
    for path in ("/", "/health", "/docs", "/docs/openapi.json", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 200, path
    for path in (
        "/api/jobs",
        "/api/jobs/x",
        "/api/status",
        "/api/conversations",
        "/api/jobs/x/events",
        "/api/search?q=x",
    ):
        problem(client.get(path), 401)
    for path in ("/api/jobs", "/api/chat", "/api/imports", "/api/sessions", "/api/jobs/x/cancel"):
        problem(client.post(path, json={}), 401)
    assert opens(client) == 4401


def test_a_refused_socket_never_opens(live: Listening) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    with pytest.raises(InvalidStatus) as refused, connect(live.socket_url, origin="https://evil.example"):  # type: ignore[arg-type]
        pass
    assert refused.value.response.status_code == 403
