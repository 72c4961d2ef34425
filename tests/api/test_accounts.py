"""Passwords, bearer tokens and API keys; who is let in where everyone signs in."""

from __future__ import annotations

import time
from typing import Any

import httpx
import jwt
import pytest
from argon2 import PasswordHasher
from litestar import Litestar
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient
from websockets.sync.client import connect

from api import callers, tokens
from config.settings import get_settings
from storage import keys, passwords, rates, users
from storage.account_tables import ApiKey
from storage.database import reading, transaction
from tests import factories
from tests.api.conftest import Listen, Start
from tests.api.helpers import problem
from tests.conftest import RUN_DIR

Client = TestClient[Litestar]
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same hash, at a cost that tests can pay."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords._nobodys.cache_clear()


@pytest.fixture
def client(start: Start) -> Client:
    return start(AUTH_MODE="required")


def person(name: str = "alice", role: str = "user", password: str | None = PASSWORD) -> str:
    with transaction() as session:
        return users.add(session, name, role, password=password).id


def key_of(user_id: str) -> str:
    with transaction() as session:
        return keys.make(session, user_id, "a test's")[1]


def login(client: Client, name: str = "alice", password: str = PASSWORD) -> httpx.Response:
    return client.post("/auth/login", json={"username": name, "password": password})


def bearer(client: Client, name: str = "alice", password: str = PASSWORD) -> dict[str, str]:
    return {"authorization": f"Bearer {login(client, name, password).json()['access_token']}"}


def me(client: Client, headers: dict[str, str]) -> httpx.Response:
    return client.get("/api/auth/me", headers=headers)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked up is looked up again at once."""
    monkeypatch.setattr(callers, "_KNOWN_S", -1.0)


# --- passwords


def test_a_password_gives_a_token(client: Client) -> None:
    user_id = person(role="admin")
    answer = login(client, "Alice ")
    body = answer.json()
    assert body.items() >= {
        "token_type": "bearer", "user_id": user_id, "username": "alice", "is_admin": True, "expires_in": 3600,
    }.items()  # fmt: skip
    assert answer.headers["cache-control"] == "no-store"
    headers = {"authorization": f"bearer {body['access_token']}"}
    assert me(client, headers).json()["id"] == user_id
    assert client.get("/auth/test", headers=headers).json()["authenticated"] is True
    assert client.get("/auth/test").json()["authenticated"] is False


def test_no_other_password_does(client: Client) -> None:
    person()
    person("ghost", password=None)
    person("gone")
    with transaction() as session:
        users.set_active(session, users.require(session, "gone"), False)
    tries = [
        ("alice", PASSWORD + "x"), ("alice", "x"), ("nobody", PASSWORD), ("ghost", PASSWORD), ("gone", PASSWORD),
        ("admin", "admin123"), ("user1", "password123"), ("owner", "owner"), ("a\0b", PASSWORD), ("alice", "\ud800"),
    ]  # fmt: skip
    said = set()
    for name, password in tries:
        answer = client.post("/auth/login", content=_json(name, password), headers={"content-type": "application/json"})
        if answer.status_code == 400:  # half a character is no JSON
            continue
        assert answer.headers["www-authenticate"].startswith("Bearer")
        said.add(problem(answer, 401)["detail"])
    assert len(said) == 1


def _json(name: str, password: str) -> bytes:
    import json

    return json.dumps({"username": name, "password": password}).encode()


@pytest.mark.parametrize("body", [{}, {"username": "alice"}, {"username": "", "password": "x"}, {"x": 1}, []])
def test_what_is_no_login_is_422(client: Client, body: Any) -> None:
    problem(client.post("/auth/login", json=body), 422)


def test_wrong_passwords_are_slowed_down(start: Start) -> None:
    client = start(AUTH_MODE="required", LOGIN_TRIES="3")
    person()
    person("bob")
    for _ in range(5):
        assert login(client).status_code == 200  # right ones cost nothing
    for _ in range(3):
        problem(login(client, password="wrong"), 401)
    answer = login(client)
    assert problem(answer, 429)["code"] == "too_many_requests"
    assert 0 < int(answer.headers["retry-after"]) <= 300
    assert login(client, "bob").status_code == 200


def test_they_are_counted_without_redis_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start(AUTH_MODE="required", LOGIN_TRIES="2")
    person()
    monkeypatch.setattr(rates, "take", lambda *_: None)
    monkeypatch.setattr(rates, "_local", rates.LocalRates())
    for status in (401, 401, 429):
        problem(login(client, password="wrong"), status)


def test_many_at_once_are_no_way_around(start: Start) -> None:
    client = start(AUTH_MODE="required", LOGIN_TRIES="2")
    person()
    answers = factories.at_once(*[lambda: login(client, password="wrong").status_code] * 6)
    assert sorted(answers) == [401, 401, 429, 429, 429, 429]


# --- bearer tokens


def test_a_token_of_another_maker_is_refused(client: Client) -> None:
    user_id = person()
    good = bearer(client)["authorization"].split()[1]
    claims = jwt.decode(good, options={"verify_signature": False})
    header, payload, signature = good.split(".")
    forged = [
        jwt.encode(claims, b"x" * 32, "HS256"),
        jwt.encode({**claims, "exp": int(time.time()) - 1}, tokens._key(), "HS256"),
        jwt.encode({**claims, "aud": "somebody"}, tokens._key(), "HS256"),
        jwt.encode({"sub": user_id, "aud": claims["aud"], "exp": claims["exp"]}, tokens._key(), "HS256"),
        jwt.encode({**claims, "sub": "nobody"}, tokens._key(), "HS256"),
        tokens.make_attempt(tokens.Attempt("s", "n", "v")),
        f"{header}.{payload}.",
        f"{header}.{payload[:-2]}.{signature}",
        good[:-3],
        "",
        "é",
    ]
    for token in forged:
        problem(client.get("/api/auth/me", headers=[(b"authorization", f"Bearer {token}".encode())]), 401)
    unsigned = jwt.encode(claims, None, "none")  # type: ignore[arg-type]
    problem(me(client, {"authorization": f"Bearer {unsigned}"}), 401)


def test_a_token_is_short_lived(start: Start) -> None:
    client = start(AUTH_MODE="required", ACCESS_TOKEN_MINUTES="5")
    person()
    claims = jwt.decode(login(client).json()["access_token"], options={"verify_signature": False})
    assert 290 <= claims["exp"] - time.time() <= 300


def test_a_token_ends_with_its_password(client: Client, forgetful: None) -> None:
    person()
    old = bearer(client)
    assert me(client, old).status_code == 200
    with transaction() as session:
        users.set_password(session, users.require(session, "alice"), "another good password")
    problem(me(client, old), 401)
    assert me(client, bearer(client, password="another good password")).status_code == 200


def test_a_token_ends_with_its_person(client: Client, forgetful: None) -> None:
    user_id = person()
    headers = bearer(client)
    with transaction() as session:
        users.set_active(session, users.get(session, user_id), False)
    problem(me(client, headers), 401)


def test_a_token_costs_no_query_for_a_while(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    person()
    headers = bearer(client)
    path = "/api/nope"
    client.get("/api/auth/me", headers=headers)
    monkeypatch.setattr(callers, "_look_up", None)
    assert me(client, headers).status_code == 200
    problem(client.get(path, headers=headers), 404)


# --- API keys


def test_a_key_opens_and_is_kept_as_its_digest(client: Client) -> None:
    user_id = person("bot", "service", None)
    key = key_of(user_id)
    assert me(client, {"x-api-key": key}).json()["role"] == "service"
    with reading() as session:
        ((row, _),) = keys.all_of(session)
    assert key not in str(row.model_dump())
    assert len(row.key_hash) == 64
    assert row.last_used_at is not None


def test_a_use_is_told_once_a_minute(client: Client) -> None:
    key = key_of(person())
    me(client, {"x-api-key": key})
    first = _row().last_used_at
    me(client, {"x-api-key": key})
    assert _row().last_used_at == first


def _row() -> ApiKey:
    with reading() as session:
        return keys.all_of(session)[0][0]


def test_what_is_no_key_opens_nothing(client: Client) -> None:
    user_id = person()
    key, revoked = key_of(user_id), key_of(user_id)
    with transaction() as session:
        keys.revoke(session, revoked[:10])
    for given in ("", "x", key[:-1], key + "x", revoked, _row().key_hash, "é"):
        problem(client.get("/api/auth/me", headers=[(b"x-api-key", given.encode())]), 401)
    with transaction() as session:
        users.set_active(session, users.get(session, user_id), False)
    problem(me(client, {"x-api-key": key}), 401)


def test_a_bad_credential_is_not_made_good_by_another(client: Client) -> None:
    key = key_of(person())
    problem(me(client, {"x-api-key": key, "authorization": "Bearer nonsense"}), 401)
    problem(me(client, {"x-api-key": key, "authorization": "Basic YTpi"}), 401)


# --- where it counts


def test_everybody_has_their_own(client: Client) -> None:
    first, second = ({"x-api-key": key_of(person(name))} for name in ("alice", "bob"))
    made = client.post("/api/jobs", json={"kind": "noop"}, headers=first).json()
    assert client.get(f"/api/jobs/{made['id']}", headers=first).status_code == 200
    problem(client.get(f"/api/jobs/{made['id']}", headers=second), 404)
    assert client.get("/api/jobs", headers=second).json()["total"] == 0


def test_sockets_take_keys_and_tokens(listen: Listen) -> None:
    live = listen(AUTH_MODE="required")
    key = key_of(person())
    with connect(live.socket_url, proxy=None, additional_headers={"X-API-Key": key}) as socket:
        socket.send('{"subscribe": ["x"]}')
        assert '"refused"' in str(socket.recv(timeout=20))


def test_sockets_of_strangers_do_not_open(client: Client) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/ws/jobs"):
        pass
    assert closed.value.code == 4401


def test_a_401_says_how_to_sign_in(client: Client) -> None:
    answer = client.get("/api/jobs")
    problem(answer, 401)
    assert answer.headers["www-authenticate"] == 'Bearer realm="Backchannel"'


def test_an_unknown_address_is_404_before_it_is_401(client: Client) -> None:
    problem(client.get("/api/nope"), 404)


def test_the_local_owner_needs_nothing(start: Start) -> None:
    client = start()
    for headers in ({}, {"x-api-key": "nonsense"}, {"authorization": "Bearer nonsense"}):
        assert client.get("/api/jobs", headers=headers).status_code == 200


def test_the_signing_secret_is_made_once_and_is_nobody_s(client: Client) -> None:
    person()
    login(client)
    kept = get_settings().data_dir / "secret-key"
    before = kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    login(client)
    assert kept.read_text() == before
    assert RUN_DIR not in kept.parents


def test_it_is_told_at_the_start_when_no_admin_can_sign_in(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    start(AUTH_MODE="required")
    assert "user add --admin" in caplog.text
    caplog.clear()
    person(role="admin")
    start(AUTH_MODE="required")
    assert "user add --admin" not in caplog.text


# --- how often


def test_a_limit_per_person_and_route(start: Start) -> None:
    client = start(AUTH_MODE="required", RATE_LIMIT_PER_MINUTE="3", RATE_LIMITS="GET /api/models=1, GET /api/search=0")
    first, second = ({"x-api-key": key_of(person(name))} for name in ("alice", "bob"))
    left = []
    for _ in range(3):
        answer = client.get("/api/jobs", headers=first)
        left.append(answer.headers["ratelimit"].split(";")[1])
        assert answer.headers["ratelimit-policy"] == '"route";q=3;w=60'
    assert left == ["r=2", "r=1", "r=0"]
    answer = client.get("/api/jobs", headers=first)
    assert problem(answer, 429)["code"] == "too_many_requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    assert answer.headers["ratelimit"].startswith('"route";r=0;t=')
    assert client.get("/api/jobs", headers=second).status_code == 200
    assert client.get("/api/conversations", headers=first).status_code == 200
    for status in (200, 429):
        assert client.get("/api/models", headers=first).status_code == status
    assert "ratelimit" not in client.get("/api/search?q=", headers=first).headers


def test_ids_do_not_make_new_routes(start: Start) -> None:
    client = start(RATE_LIMIT_PER_MINUTE="2")
    answers = [client.get(f"/api/jobs/{name}").status_code for name in "abc"]
    assert answers == [404, 404, 429]


def test_there_is_no_limit_where_there_is_one_person(client: Client, start: Start) -> None:
    assert "ratelimit" in client.get("/api/jobs", headers={"x-api-key": key_of(person())}).headers
    assert "ratelimit" not in start(AUTH_MODE="local").get("/api/jobs").headers


def test_signing_in_is_counted_by_address(start: Start) -> None:
    client = start(AUTH_MODE="required", RATE_LIMIT_PER_MINUTE="2")
    assert [client.get("/api/auth/status").status_code for _ in range(3)] == [200, 200, 429]
    assert [client.get("/health").status_code for _ in range(4)] == [200] * 4


def test_without_redis_nobody_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start(AUTH_MODE="required", RATE_LIMIT_PER_MINUTE="1")
    headers = {"x-api-key": key_of(person())}
    monkeypatch.setattr(rates, "_paused_until", time.monotonic() + 60)
    assert [me(client, headers).status_code for _ in range(3)] == [200] * 3


def test_a_limit_for_what_is_not_there_stops_the_start(start: Start) -> None:
    from config.settings import SettingsError

    with pytest.raises(SettingsError, match="GET /api/nope"):
        start(RATE_LIMITS="GET /api/nope=3")
    assert start(RATE_LIMITS="POST /api/jobs/{job_id}/cancel=3").get("/health").status_code == 200


# --- tokens of a day


def test_a_day_s_tokens_used_up(start: Start) -> None:
    from storage import usage

    client = start(AUTH_MODE="required", TOKENS_PER_DAY="100")
    first, second = person("alice"), person("bob")
    headers = {"x-api-key": key_of(first), "prefer": "respond-async"}
    for prompt, completion, status in ((60, 39, 202), (0, 1, 429)):
        with transaction() as session:
            usage.add(session, first, prompt, completion)
        answer = client.post("/api/chat", json={"message": "Hello"}, headers=headers)
        assert answer.status_code == status, answer.text
    assert problem(answer, 429)["code"] == "quota_used_up"
    assert 0 < int(answer.headers["retry-after"]) <= 86_400
    assert client.post("/api/jobs", json={"kind": "noop"}, headers=headers).status_code == 202
    other = {"x-api-key": key_of(second), "prefer": "respond-async"}
    assert client.post("/api/chat", json={"message": "Hello"}, headers=other).status_code == 202
    with transaction() as session:
        users.get(session, first).tokens_per_day = 1000
    assert client.post("/api/chat", json={"message": "Hello"}, headers=headers).status_code == 202
