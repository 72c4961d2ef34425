"""A service has a share link imported for somebody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import httpx
import pytest

from config.queues import Kind
from storage import keys, users
from storage.database import transaction
from tests import factories
from tests.api.conftest import Listen, Listening
from tests.api.helpers import job_ids, work
from tests.servers import wait_until
from tests.standins.share_host import LINK, Page, share_host

Meanwhile = Callable[..., Future[Any]]
PATH = "/api/conversations/import-slack"


@pytest.fixture
def page(settings: pytest.MonkeyPatch) -> Iterator[type[Page]]:
    with share_host() as (page, url):
        settings.setenv("CHATGPT_SHARE_URL", url)
        yield page


@pytest.fixture
def live(page: type[Page], listen: Listen) -> Listening:
    return listen(AUTH_MODE="required")


def person(name: str, role: str = "user", **fields: Any) -> tuple[str, dict[str, str]]:
    """The id, and the header of a key."""
    with transaction() as session:
        user = users.add(session, name, role, **fields)
        return user.id, {"X-API-Key": keys.make(session, user.id, "")[1]}


def imported(live: Listening, meanwhile: Meanwhile, user_id: Any, headers: dict[str, str]) -> httpx.Response:
    before = len(job_ids("import"))
    waiting = meanwhile(live.client.post, PATH, json={"url": LINK, "user_id": user_id}, headers=headers)
    wait_until(lambda: len(job_ids("import")) > before, what="the import's job")
    work(job_ids("import")[0])
    return waiting.result(20)


def refused(answer: httpx.Response, status: int, error: str) -> None:
    """A problem, with the seed's two fields."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["error"]) == (status, error)
    assert body["detail"].endswith(".")


def test_it_becomes_that_person_s_conversation(live: Listening, meanwhile: Meanwhile) -> None:
    alice, _ = person("alice", email="alice@example.org")
    _, service = person("slack", "service")
    for name in ("alice", "Alice@Example.org", alice):
        answer = imported(live, meanwhile, name, service)
        assert answer.status_code == 200, answer.text
        assert answer.json().keys() == {"id", "message"}
        (row,) = factories.all_conversations(alice)
        assert answer.json()["id"] == row.id
    assert {job.owner_id for job in factories.all_jobs(Kind.IMPORT)} == {alice}


def test_a_number_may_be_a_name(live: Listening, meanwhile: Meanwhile) -> None:
    seven, _ = person("7")
    _, service = person("slack", "service")
    assert imported(live, meanwhile, 7, service).status_code == 200
    assert len(factories.all_conversations(seven)) == 1


def test_a_repeated_request_is_one_import(live: Listening, meanwhile: Meanwhile) -> None:
    person("alice")
    _, service = person("slack", "service")
    headers = {**service, "Idempotency-Key": "k"}
    first = imported(live, meanwhile, "alice", headers)
    second = live.client.post(PATH, json={"url": LINK, "user_id": "alice"}, headers=headers)
    assert first.json() == second.json()
    assert len(factories.all_jobs(Kind.IMPORT)) == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(404, b"", "CHAT_NOT_FOUND"), (403, b"", "BLOCKED"), (200, b"x", "FORMAT_CHANGED")],
)
def test_a_link_that_leads_nowhere(
    live: Listening, page: type[Page], meanwhile: Meanwhile, status: int, body: bytes, error: str
) -> None:
    page.status, page.body = status, body
    person("alice")
    _, service = person("slack", "service")
    refused(imported(live, meanwhile, "alice", service), 400, error)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": LINK},
        {"url": "https://example.org/share/x", "user_id": "alice"},
        {"url": "", "user_id": "alice"},
        {"url": LINK, "user_id": None},
        {"url": LINK, "user_id": "alice", "more": 1},
    ],
)
def test_what_cannot_be_imported(live: Listening, body: dict[str, Any]) -> None:
    person("alice")
    refused(live.client.post(PATH, json=body, headers=person("slack", "service")[1]), 400, "UNPROCESSABLE")
    assert factories.all_jobs(Kind.IMPORT) == []


def test_somebody_who_is_not_here(live: Listening) -> None:
    gone, _ = person("gone")
    with transaction() as session:
        users.set_active(session, users.get(session, gone), False)
    _, service = person("slack", "service")
    for who in ("nobody", 7, "", "gone", gone, "a\0b"):
        refused(live.client.post(PATH, json={"url": LINK, "user_id": who}, headers=service), 400, "NOT_FOUND")


def test_only_a_service_may(live: Listening) -> None:
    alice, headers = person("alice")
    body = {"url": LINK, "user_id": alice}
    refused(live.client.post(PATH, json=body, headers=headers), 403, "FORBIDDEN")
    refused(live.client.post(PATH, json=body), 401, "UNAUTHORIZED")
    refused(live.client.post(PATH, json=body, headers={"X-API-Key": "x"}), 401, "UNAUTHORIZED")
    assert factories.all_jobs(Kind.IMPORT) == []
