"""What a session's token is good for, and for how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import update
from sqlmodel import select

from storage import users
from storage.account_tables import Identity, UserSession
from storage.database import reading, transaction
from storage.tables import utcnow
from tests import factories
from tests.api.conftest import BASE
from tests.api.helpers import problem
from tests.api.signing_in import Client, all_sessions, client, issuer, sign_in
from tests.standins.issuer import Issuer

__all__ = ["client", "issuer"]


def make_older(**values: Any) -> None:
    with transaction() as session:
        session.execute(update(UserSession).values(**values))


def asked_with(client: Client, token: str) -> httpx.Response:
    client.cookies.clear()
    return client.get("/api/auth/me", headers={"cookie": f"session_token={token}"})


def test_a_token_is_replaced_when_half_its_life_is_over(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    first = client.cookies["session_token"]
    assert client.get("/api/auth/me").headers.get_list("set-cookie") == []
    make_older(expires_at=utcnow() + timedelta(hours=11))
    answer = client.get("/api/auth/me")
    second = answer.cookies["session_token"]
    assert second != first
    (row,) = all_sessions()
    assert row.expires_at - utcnow() > timedelta(hours=23)
    # The requests that were under way with the old one still get through, and are not given yet another.
    late = asked_with(client, first)
    assert late.status_code == 200
    assert "set-cookie" not in late.headers
    assert asked_with(client, second).status_code == 200
    make_older(rotated_at=utcnow() - timedelta(seconds=31))
    problem(asked_with(client, first), 401)
    assert asked_with(client, second).status_code == 200


def test_one_of_many_requests_at_once_is_given_the_new_token(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    make_older(expires_at=utcnow() + timedelta(hours=1))
    headers = {"cookie": f"session_token={client.cookies['session_token']}"}
    client.cookies.clear()
    answers = factories.at_once(*[lambda: client.get("/api/auth/me", headers=headers)] * 8)
    assert {answer.status_code for answer in answers} == {200}
    assert sum("set-cookie" in answer.headers for answer in answers) == 1


def test_signing_out_ends_both_tokens(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    first = client.cookies["session_token"]
    make_older(expires_at=utcnow() + timedelta(hours=1))
    second = client.get("/api/auth/me").cookies["session_token"]
    answer = client.post("/api/auth/logout", headers={"cookie": f"session_token={first}"})
    assert len([cookie for cookie in answer.headers.get_list("set-cookie") if "session_token" in cookie]) == 1
    for token in (first, second):
        problem(asked_with(client, token), 401)


def test_a_session_ends(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    make_older(expires_at=utcnow() - timedelta(seconds=1))
    problem(client.get("/api/auth/me"), 401)
    assert client.get("/api/auth/status").json()["authenticated"] is False


def test_an_admin_has_sessions_that_are_over_forgotten(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    make_older(expires_at=utcnow() - timedelta(seconds=1))
    issuer.person = {"sub": "admin", "name": "Root", "email": "root@example.org"}
    with transaction() as session:
        users.add(session, "root", "admin", email="root@example.org")
    client.cookies.clear()
    sign_in(client, issuer)
    assert client.delete("/api/auth/cleanup").json()["removed"] == 1
    assert len(all_sessions()) == 1
    with reading() as session:
        assert len(list(session.exec(select(Identity)))) == 2


def test_pages_elsewhere_cannot_use_the_cookie(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        problem(client.post("/api/sessions", headers=headers), 403)
        problem(client.post("/api/auth/logout", headers=headers), 403)
    for headers in ({"origin": BASE}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}):
        assert client.post("/api/sessions", headers=headers).status_code == 201
