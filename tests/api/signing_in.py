"""A browser that signs in with an issuer, which is a stand-in; its tokens are real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from sqlmodel import select

from storage import users
from storage.account_tables import UserSession
from storage.database import reading
from storage.tables import LOCAL_OWNER, User
from tests.api.conftest import Start
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
