"""A conversation's draft is made a project in Linear, and locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from config.queues import Kind
from tests import factories
from tests.api.conftest import Listening
from tests.api.helpers import newest_job, problem, work
from tests.standins.linear_server import KEY, LinearServer, linear_server, refusal

Meanwhile = Callable[..., Future[Any]]
Json = dict[str, Any]


@pytest.fixture
def server(settings: pytest.MonkeyPatch) -> Iterator[LinearServer]:
    with linear_server() as running:
        settings.setenv("LINEAR_API_URL", running.url)
        settings.setenv("LINEAR_ACCESS_KEY", KEY)
        yield running


@pytest.fixture
def conversation(sqlite: str) -> str:
    return factories.conversation()


@pytest.fixture
def made(server: LinearServer, live: Listening, conversation: str, meanwhile: Meanwhile) -> Callable[..., Any]:
    def make(**body: str) -> Any:
        waiting = meanwhile(live.client.post, f"/api/conversations/{conversation}/project", json=body)
        work(newest_job("project"))
        return waiting.result(20)

    return make


def test_the_seeds_request(server: LinearServer, live: Listening, conversation: str, made: Callable[..., Any]) -> None:
    path = f"/api/conversations/{conversation}/project"
    problem(live.client.get(path), 404)
    answer = made(title=" Roses  everywhere ", description="Plant them.")
    assert answer.status_code == 200
    project = answer.json()
    assert (project["title"], project["linear_project_id"]) == ("Roses everywhere", "p1")
    assert live.client.get(path).json() == project
    assert live.client.get(f"/api/conversations/{conversation}").json()["is_locked"] is True
    problem(live.client.post(path, json={"title": "x", "description": "y"}), 409)
    problem(live.client.post("/api/chat", json={"message": "Hi", "session_id": conversation}), 409)
    assert len(server.projects) == 1


def test_without_words_it_is_the_draft(
    server: LinearServer, live: Listening, conversation: str, made: Callable[..., Any]
) -> None:
    draft = {"title": "Tulips", "description": "Plant those."}
    live.client.patch(f"/api/conversations/{conversation}/project-draft", json=draft)
    project = made().json()
    assert (project["title"], project["description"]) == ("Tulips", "Plant those.")


def test_what_linear_refuses_is_the_answer(server: LinearServer, made: Callable[..., Any]) -> None:
    server.replies = [refusal("Not today", "INVALID_INPUT")]
    assert "Not today" in problem(made(title="x", description="y"), 502)["detail"]


@pytest.fixture
def client(server: LinearServer, client: TestClient[Litestar]) -> TestClient[Litestar]:
    return client


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"title": "x" * 81, "description": "y"}, 400),
        ({"title": "", "description": "y"}, 422),
        ({"title": "x", "description": " "}, 422),
        ({"title": "x", "description": "y", "more": 1}, 422),
        ({}, 404),
    ],
)
def test_what_is_refused_before_linear_hears_of_it(
    server: LinearServer, client: TestClient[Litestar], conversation: str, body: Json, status: int
) -> None:
    problem(client.post(f"/api/conversations/{conversation}/project", json=body), status)
    assert server.asked == []
    assert factories.all_jobs(Kind.PROJECT) == []


def test_who_cannot_wait_gets_the_job(client: TestClient[Litestar], conversation: str) -> None:
    answer = client.post(
        f"/api/conversations/{conversation}/project",
        json={"title": "x" * 80, "description": "y"},
        headers={"Prefer": "respond-async"},
    )
    assert (answer.status_code, answer.json()["kind"]) == (202, "project")


def test_without_a_key_it_is_said(start: Callable[..., TestClient[Litestar]], conversation: str) -> None:
    body = {"title": "x", "description": "y"}
    answer = problem(start().post(f"/api/conversations/{conversation}/project", json=body), 409)
    assert "LINEAR_ACCESS_KEY" in answer["detail"]
