"""Who is not signed in: proofs that do not hold, answers that were not asked for, issuers that are away."""

from __future__ import annotations

import time
from typing import Any

import pytest

from storage.tables import LOCAL_OWNER
from tests.api.conftest import Start
from tests.api.helpers import problem
from tests.api.signing_in import Client, all_sessions, begin, client, come_back, issuer, people, settings_of, sign_in
from tests.standins.issuer import CLIENT_ID, Issuer

__all__ = ["client", "issuer"]


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
