"""Signing in with an issuer, end to end: the issuer is a stand-in, its tokens are real."""

from __future__ import annotations

import httpx

from storage import users
from storage.database import transaction
from storage.opaque import digest
from tests import factories
from tests.api.conftest import Start
from tests.api.helpers import problem
from tests.api.signing_in import Client, all_sessions, begin, client, come_back, issuer, people, settings_of, sign_in
from tests.standins.issuer import CLIENT_ID, CLIENT_SECRET, Issuer

__all__ = ["client", "issuer"]


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
