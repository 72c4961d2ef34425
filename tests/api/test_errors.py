"""What is wrong with a request is said in one form, shortly, and with nothing from inside."""

from __future__ import annotations

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from storage import jobs
from storage.database import DatabaseError
from tests import factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import faithh_problem, fields, problem
from tests.servers import wait_until

Client = TestClient[Litestar]
JSON = {"content-type": "application/json"}
FORM = "multipart/form-data; boundary=a"
LONG = "x" * 5000


def post(client: Client, path: str, body: bytes | str, content_type: str = "application/json") -> httpx.Response:
    return client.post(path, content=body, headers={"content-type": content_type})


# --- addresses and methods


def test_an_unknown_address_is_404(client: Client) -> None:
    for path in ("/nope", "/api", "/api/nope", "/api/jobs/x/nope", "/ws", "/%2e%2e/etc/passwd", "/nope%00"):
        problem(client.get(path), 404)
        problem(client.post(path, json={}), 404)
    problem(client.get("/docs/nope"), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/{}",
        "/api/jobs/{}/events",
        "/api/imports/{}/items",
        "/api/conversations/{}",
        "/api/chat/history?session_id={}",
    ],
)
def test_an_unknown_id_is_404(client: Client, path: str) -> None:
    for name in ("nope", "%00", "%ff%fe", "%zz", "%F0%9F%98%80", "' OR 1=1 --", LONG):
        problem(client.get(path.format(name)), 404)


def test_somebody_elses_job_is_404(client: Client) -> None:
    job_id = factories.job(owner_id=factories.owner())
    for response in (
        client.get(f"/api/jobs/{job_id}"),
        client.get(f"/api/jobs/{job_id}/events"),
        client.post(f"/api/jobs/{job_id}/cancel"),
        client.post(f"/api/jobs/{job_id}/retry"),
    ):
        problem(response, 404)
    assert client.get("/api/jobs").json()["total"] == 0


def test_somebody_elses_conversation_is_404(client: Client) -> None:
    conversation_id = factories.conversation(factories.owner())
    problem(client.get(f"/api/conversations/{conversation_id}"), 404)
    problem(client.get("/api/chat/history", params={"session_id": conversation_id}), 404)
    problem(client.delete("/api/chat/history", params={"session_id": conversation_id}), 404)
    problem(client.post("/api/chat", json={"message": "Hello", "session_id": conversation_id}), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "/api/jobs", "POST"), ("DELETE", "/api/jobs", "GET"), ("GET", "/api/rag_search", "POST")],
)
def test_a_method_the_address_does_not_take_is_405(client: Client, method: str, path: str, allowed: str) -> None:
    response = client.request(method, path)
    problem(response, 405)
    assert allowed in response.headers["allow"]


def test_head_is_get_without_the_body(live: Listening) -> None:
    for path in ("/", "/health", "/api/jobs", "/api/status", "/docs", "/redoc", "/openapi.json"):
        response = live.client.head(path)
        assert response.status_code == 200
        assert response.content == b""
        assert response.headers["content-type"] == live.client.get(path).headers["content-type"]


def test_head_of_a_stream_ends(live: Listening) -> None:
    response = live.client.head(f"/api/jobs/{factories.job()}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    wait_until(lambda: live.hub.listeners == 0)
    assert live.client.head("/nope").status_code == 404
    assert live.client.head("/api/rag_search").status_code == 405


def test_options_names_the_methods(client: Client) -> None:
    response = client.options("/api/jobs")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert client.options("/api/jobs/x/cancel").headers["allow"] == "OPTIONS, POST"
    problem(client.options("/nope"), 404)


# --- bodies


@pytest.mark.parametrize("path", ["/api/jobs", "/api/chat", "/api/rag_search", "/api/imports"])
def test_malformed_json_is_400(client: Client, path: str) -> None:
    for body in (b"{", b"nope", b"'x'", b"{}{}", b'{"a":NaN}', b"\xff\xfe{", b'{"a":"\\ud800"}'):
        assert problem(post(client, path, body), 400)["detail"] == "The request body is not valid JSON."


@pytest.mark.parametrize("path", ["/api/jobs", "/api/chat", "/api/rag_search"])
def test_a_body_without_what_is_needed_is_422(client: Client, path: str) -> None:
    for body in ("", "null", "[]", "1", '"x"', "{}"):
        assert problem(post(client, path, body), 422)["errors"]


@pytest.mark.parametrize("path", ["/api/jobs", "/api/chat", "/api/rag_search", "/api/sessions", "/api/jobs/x/cancel"])
def test_another_type_than_json_is_415(client: Client, path: str) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/msgpack", FORM, ""):
        assert "application/json" in problem(post(client, path, '{"kind":"noop"}', content_type), 415)["detail"]


def test_a_body_without_a_type_is_415(client: Client) -> None:
    problem(client.post("/api/jobs", content=b'{"kind":"noop"}'), 415)


def test_every_kind_of_json_is_taken(client: Client) -> None:
    for content_type in ("application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"):
        assert post(client, "/api/jobs", '{"kind":"noop"}', content_type).status_code == 202


def test_no_body_needs_no_type(client: Client) -> None:
    assert client.post("/api/sessions").status_code == 201
    assert client.post("/api/sessions", headers={"content-type": "text/plain"}).status_code == 201
    assert client.post(f"/api/jobs/{factories.job()}/cancel").status_code == 200


def test_too_much_json_is_413(start: Start) -> None:
    client = start(MAX_BODY_MB="1")
    for path in ("/api/jobs", "/api/chat", "/api/rag_search"):
        problem(post(client, path, b"[" + b" " * 1024 * 1024 + b"]"), 413)


def test_too_much_json_in_pieces_is_413(start: Start) -> None:
    client = start(MAX_BODY_MB="1")
    pieces = (b" " * 100_000 for _ in range(20))
    problem(client.post("/api/jobs", content=pieces, headers=JSON), 413)


UNUSABLE_JOBS: list[tuple[object, str]] = [
    ({"kind": "noop", "nope": 1}, "nope"),
    ({"kind": "nope"}, "kind"),
    ({"kind": "noop", "priority": 10}, "priority"),
    ({"kind": "noop", "priority": -1}, "priority"),
    ({"kind": "noop", "priority": "urgent"}, "priority"),
    ({"kind": "noop", "input": []}, "input"),
    ({"kind": "noop", "webhook_url": "ftp://example.org"}, "webhook_url"),
    ({"kind": "noop", "webhook_url": "nope"}, "webhook_url"),
    ({"kind": "webhook"}, ""),
    ({"kind": "noop", "input": {"nope": 1}}, "input.nope"),
    ({"kind": "embed", "input": {"nope": 1}}, "input.nope"),
    ({"kind": "chat", "input": {}}, "input.message"),
    ({"kind": "import", "input": {"blob": "../../etc/passwd"}}, "input.blob"),
    ({"kind": "noop", "input": {"echo": 2**64}}, "input"),
    ({"kind": "noop", "input": {"echo": "a\0b"}}, "input.echo"),
    ({"kind": "noop", "input": {"echo": {"\0": 1}}}, "input.echo"),
]


def test_an_unusable_job_says_which_field(client: Client) -> None:
    for body, field in UNUSABLE_JOBS:
        assert fields(problem(client.post("/api/jobs", json=body), 422)) == {field}
    assert client.get("/api/jobs").json()["total"] == 0


def test_json_without_end_is_422(client: Client) -> None:
    for depth in (205, 900, 50_000):
        problem(post(client, "/api/jobs", '{"kind":"noop","input":{"echo":' + "[" * depth + "]" * depth + "}}"), 422)


def test_json_of_some_depth_is_taken(client: Client) -> None:
    body = '{"kind":"noop","input":{"echo":' + "[" * 190 + "]" * 190 + "}}"
    assert post(client, "/api/jobs", body).status_code == 202
    for innocent in (r"\u0000", 2**64 - 1, -(2**63), 1e308):
        assert client.post("/api/jobs", json={"kind": "noop", "input": {"echo": innocent}}).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "noop", LONG: 1},
        {"kind": "noop", "input": {LONG: 1}},
        {"kind": "noop", "input": {f"{LONG}{at}": 1 for at in range(200)}},
        {"kind": LONG},
        {"kind": "noop", **{f"field {at}": at for at in range(5000)}},
        {"kind": "noop", "webhook_url": LONG},
    ],
)
def test_what_was_sent_comes_back_shortly(client: Client, body: object) -> None:
    problem(client.post("/api/jobs", json=body), 422)


def test_long_names_in_addresses_come_back_shortly(client: Client) -> None:
    for path in (f"/api/jobs/{LONG}", f"/{LONG}", f"/api/conversations/{LONG}"):
        problem(client.get(path), 404)
    for query in ("kind", "status", "limit", "cursor"):
        response = client.get("/api/jobs", params={query: LONG})
        assert len(response.content) < 1000


UNUSABLE_QUERIES = [
    "/api/jobs?limit=0",
    "/api/jobs?limit=-1",
    "/api/jobs?limit=ten",
    "/api/jobs?limit=1.5",
    "/api/jobs?kind=nope",
    "/api/jobs?status=",
    "/api/conversations?offset=-1",
    "/api/conversations?offset=99999999999999999999999",
    "/api/conversations/x?tree=perhaps",
    "/api/imports/x/items?offset=99999999999999999999999",
    "/api/chat/history?limit=0",
    "/api/search",
    "/api/search?q=",
    f"/api/search?q={LONG}",
    "/api/search?q=x&limit=1000",
    "/api/jobs/x/events?after=-1",
]


def test_an_unusable_query_is_422(client: Client) -> None:
    for path in UNUSABLE_QUERIES:
        problem(client.get(path), 422)


def test_strange_queries_are_no_failure(client: Client) -> None:
    for query in ("limit=99999999999999999999999", "%", "%zz=%00", "cursor=%00", "&&&==;", "a[]=1"):
        assert client.get(f"/api/jobs?{query}").status_code == 200


# --- FAITHH's clients


def test_faithh_gets_its_words_too(start: Start) -> None:
    client = start(MAX_BODY_MB="1")
    faithh_problem(client.post("/api/chat", json={}), 422)
    faithh_problem(post(client, "/api/chat", "{"), 400)
    faithh_problem(post(client, "/api/chat", "{", "text/plain"), 415)
    faithh_problem(post(client, "/api/chat", b" " * 1_100_000), 413)
    faithh_problem(client.get("/api/chat"), 405)
    faithh_problem(client.get("/api/chat/history?limit=0"), 422)
    faithh_problem(client.get("/api/chat/history?session_id=x"), 404)
    faithh_problem(client.post("/api/rag_search", json={"query": ""}), 422)
    faithh_problem(client.get("/images/nope.png"), 404)
    assert "success" not in problem(client.get("/api/jobs/x"), 404)


# --- failures of our own


def test_a_failure_inside_says_nothing_of_the_inside(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("the secret is in /home/somebody/key.py")

    monkeypatch.setattr(jobs, "page", explode)
    monkeypatch.setattr(jobs, "check_room", explode)
    body = problem(client.get("/api/jobs"), 500)
    assert body["code"] == "internal_error"
    assert "secret" not in body["detail"]
    assert faithh_problem(client.post("/api/chat", json={"message": "Hello"}), 500)["code"] == "internal_error"


def test_a_database_that_is_away_is_503(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def away(*_: object, **__: object) -> None:
        raise OperationalError("SELECT secret", {}, OSError("could not connect to /var/run/postgres"))

    monkeypatch.setattr(jobs, "get", away)
    response = client.get("/api/jobs/x")
    assert "SELECT" not in problem(response, 503)["detail"]
    assert response.headers["retry-after"]
    assert issubclass(OperationalError, DatabaseError)


def test_what_postgresql_cannot_hold_is_no_failure(
    database: str, clean_redis: str, settings: pytest.MonkeyPatch
) -> None:
    from api.app import create_app

    with TestClient(create_app(), base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        for path in (
            "/api/jobs/%00",
            "/api/conversations/%00",
            "/api/jobs?cursor=%00",
            "/api/conversations?source=%00",
        ):
            assert client.get(path).status_code in (200, 404, 422), path
        for body in ({"message": "a\0b"}, {"message": "Hello", "session_id": "\0"}, {"message": "Hi", "system": "\0"}):
            response = client.post("/api/chat", json=body, headers={"prefer": "respond-async"})
            assert response.status_code in (202, 404, 422), body
        response = client.post("/api/imports", files={"file": ("a\0b", b"{}")})
        assert response.status_code in (202, 400), response.text
