"""Signing in with an issuer, end to end: the issuer is a stand-in, its tokens are real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import update
from sqlmodel import select

from storage import users
from storage.account_tables import Identity, UserSession
from storage.database import reading, transaction
from storage.opaque import digest
from storage.tables import LOCAL_OWNER, User, utcnow
from tests import factories
from tests.api.conftest import BASE, Start
from tests.api.helpers import problem
from tests.standins.issuer import CLIENT_ID, CLIENT_SECRET, Issuer, issuer_server

Client = TestClient[Litestar]
Json = dict[str, Any]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuer_server() as issuer:
        yield issuer


def settings_of(issuer: Issuer, **more: str) -> dict[str, str]:
    known = {"OIDC_ISSUER": issuer.url, "OIDC_CLIENT_ID": CLIENT_ID, "OIDC_CLIENT_SECRET": CLIENT_SECRET}
    return {"AUTH_MODE": "required", **known, **more}


@pytest.fixture
def client(start: Start, issuer: Issuer) -> Client:
    return start(**settings_of(issuer))


def begin(client: Client) -> str:
    answer = client.get("/api/auth/login", follow_redirects=False)
    assert answer.status_code == 302, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.headers["location"]


def come_back(client: Client, query: str) -> httpx.Response:
    return client.get(f"/api/auth/callback?{query}", follow_redirects=False)


def sign_in(client: Client, issuer: Issuer) -> httpx.Response:
    return come_back(client, issuer.consent(begin(client)))


def all_sessions() -> list[UserSession]:
    with reading() as session:
        return list(session.exec(select(UserSession)))


def people() -> list[User]:
    """But for the local owner."""
    with reading() as session:
        return [user for user in users.page(session) if user.id != LOCAL_OWNER]


# --- the way through


def test_a_person_signs_in_and_out(client: Client, issuer: Issuer) -> None:
    problem(client.get("/api/auth/me"), 401)
    answer = sign_in(client, issuer)
    assert (answer.status_code, answer.headers["location"]) == (302, "/")
    me = client.get("/api/auth/me").json()
    assert (me["name"], me["email"], me["role"], me["is_admin"]) == ("Alice", "alice@example.org", "user", False)
    assert client.get("/api/auth/status").json()["user"] == me
    assert client.post("/api/auth/logout").json()["success"] is True
    assert "session_token" not in client.cookies
    problem(client.get("/api/auth/me"), 401)
    assert client.get("/api/auth/status").json() == {
        "authenticated": False, "user": None, "auth_mode": "required",
        "sign_in": {"password": "/auth/login", "oidc": "/api/auth/login"},
    }  # fmt: skip
    assert all_sessions() == []


def test_the_cookie_is_out_of_reach_and_its_token_is_not_kept(client: Client, issuer: Issuer) -> None:
    cookies = sign_in(client, issuer).headers.get_list("set-cookie")
    (cookie,) = [cookie for cookie in cookies if cookie.startswith("session_token=")]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Max-Age=86400" in cookie
    assert "Secure" not in cookie
    token = client.cookies["session_token"]
    (row,) = all_sessions()
    assert len(token) >= 43
    assert row.token_hash == digest(token) != token


def test_behind_tls_the_cookie_is_secure(start: Start, issuer: Issuer) -> None:
    client = start(
        **settings_of(issuer, OIDC_REDIRECT_URI="https://here.example/api/auth/callback", SESSION_EXPIRE_HOURS="2")
    )
    client.base_url = httpx.URL("https://127.0.0.1:8000")
    location = begin(client)
    assert "redirect_uri=https%3A%2F%2Fhere.example%2Fapi%2Fauth%2Fcallback" in location
    cookies = come_back(client, issuer.consent(location)).headers.get_list("set-cookie")
    (cookie,) = [cookie for cookie in cookies if cookie.startswith("session_token=")]
    assert "Secure" in cookie
    assert "Max-Age=7200" in cookie


def test_it_ends_at_the_frontend_and_nowhere_else(start: Start, issuer: Issuer) -> None:
    client = start(**settings_of(issuer, FRONTEND_URL="http://localhost:3000/app"))
    query = issuer.consent(begin(client)) + "&next=https://evil.example&redirect_uri=https://evil.example"
    assert come_back(client, query).headers["location"] == "http://localhost:3000/app"


def test_the_seed_s_names_mean_google(start: Start, issuer: Issuer) -> None:
    """With a stand-in in its place, by the address of the discovery document alone."""
    client = start(
        AUTH_MODE="required",
        GOOGLE_CLIENT_ID=CLIENT_ID,
        GOOGLE_CLIENT_SECRET=CLIENT_SECRET,
        GOOGLE_REDIRECT_URI="http://localhost:8000/api/auth/callback",
        OIDC_DISCOVERY_URL=f"{issuer.url}/.well-known/openid-configuration",
    )
    assert sign_in(client, issuer).status_code == 302
    assert client.get("/api/auth/me").status_code == 200


def test_who_comes_again_is_the_same_and_brought_up_to_date(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    issuer.person |= {"name": "Alice B.", "email": "alice.b@example.org"}
    sign_in(client, issuer)
    (user,) = people()
    assert (user.name, user.email) == ("Alice B.", "alice.b@example.org")
    assert len(all_sessions()) == 1  # the browser's earlier one is over


def test_two_tabs_may_sign_in_at_once(client: Client, issuer: Issuer) -> None:
    first, second = begin(client), begin(client)
    assert come_back(client, issuer.consent(first)).status_code == 302
    assert come_back(client, issuer.consent(second)).status_code == 302


def test_what_the_token_does_not_say_is_asked_for(client: Client, issuer: Issuer) -> None:
    issuer.in_userinfo = True
    sign_in(client, issuer)
    assert client.get("/api/auth/me").json()["email"] == "alice@example.org"
    assert "GET /userinfo" in issuer.asked


def test_a_new_key_of_the_issuer_is_fetched(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    issuer.signs_with, issuer.shows = "second", ("first", "second")
    assert sign_in(client, issuer).status_code == 302


def test_a_first_sign_in_many_times_at_once_makes_one_person(client: Client) -> None:
    from api.sign_in import _begin_session
    from storage.identities import Claims

    claims = Claims("https://a", "1", "Alice", "alice@example.org")
    made = factories.at_once(*[lambda: _begin_session(claims, None, "")] * 6)
    assert len(set(made)) == len(all_sessions()) == 6
    assert len(people()) == 1


# --- who it is


def test_an_address_opens_what_an_admin_made_once(client: Client, issuer: Issuer) -> None:
    with transaction() as session:
        made = users.add(session, "alice", "user", email="Alice@Example.org").id
    sign_in(client, issuer)
    assert client.get("/api/auth/me").json()["id"] == made
    issuer.person = {"sub": "g-2", "name": "Somebody who got the address later", "email": "alice@example.org"}
    sign_in(client, issuer)
    later = client.get("/api/auth/me").json()
    assert later["id"] != made
    assert later["email"] is None


def test_an_address_that_nobody_verified_is_none(client: Client, issuer: Issuer) -> None:
    with transaction() as session:
        made = users.add(session, "alice", "admin", email="alice@example.org").id
    for verified in (False, None):
        issuer.verified = verified
        sign_in(client, issuer)
        me = client.get("/api/auth/me").json()
        assert (me["id"] == made, me["email"], me["role"]) == (False, None, "user")


def test_the_first_to_arrive_is_nobody_s_admin(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    assert client.get("/api/auth/me").json()["role"] == "user"
    problem(client.delete("/api/auth/cleanup"), 403)


def test_only_whom_a_setting_lets_in(start: Start, issuer: Issuer) -> None:
    client = start(**settings_of(issuer, OIDC_ALLOWED="bob@other.example, @Example.org"))
    assert sign_in(client, issuer).status_code == 302
    issuer.person = {"sub": "g-3", "name": "Eve", "email": "eve@example.org.evil.example"}
    problem(sign_in(client, issuer), 403)
    issuer.person, issuer.verified = {"sub": "g-4", "name": "Eve", "email": "eve@example.org"}, False
    problem(sign_in(client, issuer), 403)


def test_who_was_disabled_stays_out(client: Client, issuer: Issuer) -> None:
    sign_in(client, issuer)
    (user,) = people()
    with transaction() as session:
        users.set_active(session, users.get(session, user.id), False)
    problem(client.get("/api/auth/me"), 401)
    problem(sign_in(client, issuer), 403)


# --- what is refused


LIES: dict[str, Any] = {
    "another nonce": lambda claims: {**claims, "nonce": "x" * 20},
    "no nonce": lambda claims: {name: value for name, value in claims.items() if name != "nonce"},
    "another audience": lambda claims: {**claims, "aud": "somebody-else"},
    "another audience, for us": lambda claims: {**claims, "aud": "somebody-else", "azp": CLIENT_ID},
    "two audiences, for another": lambda claims: {**claims, "aud": [CLIENT_ID, "x"], "azp": "x"},
    "expired": lambda claims: {**claims, "exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200},
    "from the future": lambda claims: {**claims, "iat": int(time.time()) + 3600},
    "another issuer": lambda claims: {**claims, "iss": "https://evil.example"},
    "nobody": lambda claims: {name: value for name, value in claims.items() if name != "sub"},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_proof_that_does_not_hold(client: Client, issuer: Issuer, lie: str) -> None:
    issuer.lie = LIES[lie]
    answer = sign_in(client, issuer)
    problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert all_sessions() == []
    assert people() == []


def test_a_key_the_issuer_does_not_admit_to(client: Client, issuer: Issuer) -> None:
    issuer.signs_with = "stolen"
    problem(sign_in(client, issuer), 401)


def test_a_token_nobody_signed_even_where_the_issuer_offers_it(start: Start, issuer: Issuer) -> None:
    issuer.unsigned, issuer.algorithms = True, ("none", "HS256")
    problem(sign_in(start(**settings_of(issuer)), issuer), 401)


def test_a_code_is_good_once(client: Client, issuer: Issuer) -> None:
    query = issuer.consent(begin(client))
    kept = dict(client.cookies)
    assert come_back(client, query).status_code == 302
    client.cookies.clear()
    for name, value in kept.items():
        client.cookies.set(name, value, domain="127.0.0.1", path="/api/auth/callback")
    problem(come_back(client, query), 400)  # the state was used
    state = issuer.consent(begin(client)).partition("&")[2]
    problem(come_back(client, f"code=code-1&{state}"), 400)  # the code was used


def test_an_answer_to_another_browser_is_refused(client: Client, issuer: Issuer) -> None:
    """Else somebody could have a person work in a stranger's account."""
    query = issuer.consent(begin(client))
    client.cookies.clear()
    before = len(issuer.asked)
    problem(come_back(client, query), 400)
    problem(come_back(client, "code=x&state=y"), 400)
    problem(come_back(client, ""), 400)
    assert len(issuer.asked) == before  # it was not even asked


def test_another_state_than_was_sent(client: Client, issuer: Issuer) -> None:
    code, _, state = issuer.consent(begin(client)).partition("&state=")
    problem(come_back(client, f"{code}&state={state[:8]}{'x' * (len(state) - 8)}"), 400)


def test_a_sign_in_cannot_be_made_up(client: Client) -> None:
    client.cookies.set("sign_in_abcdefgh", "a.b.c", domain="127.0.0.1")
    problem(come_back(client, "code=x&state=abcdefghijklmnop"), 400)


def test_a_person_who_says_no(client: Client, issuer: Issuer) -> None:
    state = issuer.consent(begin(client)).partition("&")[2]
    assert "agree" in problem(come_back(client, f"error=access_denied&{state}"), 403)["detail"]
    state = issuer.consent(begin(client)).partition("&")[2]
    problem(come_back(client, f"error=%3Cscript%3E&{state}"), 400)


def test_an_answer_from_another_issuer(client: Client, issuer: Issuer) -> None:
    query = issuer.consent(begin(client))
    problem(come_back(client, f"{query}&iss=https://evil.example"), 400)


def test_an_issuer_that_is_away(start: Start, issuer: Issuer) -> None:
    client = start(**settings_of(issuer))
    issuer.status = 500
    answer = client.get("/api/auth/login", follow_redirects=False)
    problem(answer, 503)
    assert answer.headers["retry-after"] == "10"
    issuer.status = 200
    query = issuer.consent(begin(client))
    issuer.status = 500
    problem(come_back(client, query), 503)


def test_a_discovery_document_of_somebody_else(start: Start, issuer: Issuer) -> None:
    client = start(**settings_of(issuer, OIDC_DISCOVERY_URL=f"{issuer.url}/userinfo"))
    problem(client.get("/api/auth/login", follow_redirects=False), 502)


def test_another_secret_than_the_issuer_knows(start: Start, issuer: Issuer) -> None:
    client = start(**{**settings_of(issuer), "OIDC_CLIENT_SECRET": "wrong"})
    problem(sign_in(client, issuer), 502)


def test_nobody_to_sign_in_with(start: Start) -> None:
    client = start(AUTH_MODE="required")
    problem(client.get("/api/auth/login", follow_redirects=False), 409)
    problem(come_back(client, "code=x&state=y"), 409)
    assert client.get("/api/auth/status").json()["sign_in"] == {"password": "/auth/login"}


def test_the_local_owner_is_signed_in_already(start: Start) -> None:
    client = start()
    assert begin(client) == "/"
    assert client.get("/api/auth/status").json()["user"]["id"] == LOCAL_OWNER
    assert client.get("/api/auth/me").json()["is_admin"] is True
    assert client.post("/api/auth/logout").status_code == 200


# --- sessions


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
