"""What models are told is written by admins, for everybody, and is what they are then told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from sqlmodel import select

from config.prompts import DEFAULTS
from config.queues import Kind
from storage.database import reading, transaction
from storage.project_tables import LlmPrompt
from storage.tables import LOCAL_OWNER, User
from tests import factories
from tests.api.helpers import problem

Client = TestClient[Litestar]


@pytest.fixture
def somebody(client: Client) -> Client:
    """The same client, whose caller is no admin any more."""
    with transaction() as session:
        user = session.get(User, LOCAL_OWNER)
        assert user is not None
        user.role = "user"
        session.add(user)
    return client


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_is_active_until_one_is_written(client: Client, name: str) -> None:
    path = f"/api/llm-prompts/{name}"
    default = {"prompt_type": name, "system_prompt": DEFAULTS[name], "is_default": True}
    assert client.get(path).json() == client.get(f"{path}/default").json() == default
    for version, words in ((1, "Be brief."), (2, "Be long.")):
        answer = client.post(path, json={"system_prompt": words})
        assert answer.status_code == 200
        assert client.get(path).json() == answer.json()
        told = answer.json()
        assert (told["system_prompt"], told["version"], told["is_default"]) == (words, version, False)
        assert (told["is_active"], told["created_by_user_id"]) == (True, LOCAL_OWNER)
    assert client.get(f"{path}/default").json() == default
    assert client.delete(path).json() == default
    assert client.delete(path).json() == client.get(path).json() == default
    listed = client.get(f"{path}/versions").json()["versions"]
    assert [(one["version"], one["is_active"]) for one in listed] == [(2, False), (1, False)]
    assert client.post(path, json={"system_prompt": "Again."}).json()["version"] == 3


def test_all_of_them(client: Client) -> None:
    client.post("/api/llm-prompts/summary", json={"system_prompt": "Be brief."})
    listed = client.get("/api/llm-prompts").json()["prompts"]
    assert {one["prompt_type"]: one["system_prompt"] for one in listed} == {**DEFAULTS, "summary": "Be brief."}


@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_a_type_that_is_none(client: Client, method: str) -> None:
    body = {"json": {"system_prompt": "x"}} if method == "post" else {}
    problem(getattr(client, method)("/api/llm-prompts/poem", **body), 404)
    problem(client.get("/api/llm-prompts/poem/default"), 404)
    problem(client.get("/api/llm-prompts/poem/versions"), 404)


@pytest.mark.parametrize("body", [{}, {"system_prompt": ""}, {"system_prompt": " "}, {"system_prompt": "x" * 20_001},
                                  {"system_prompt": "x", "more": 1}])  # fmt: skip
def test_what_cannot_be_a_prompt(client: Client, body: dict[str, Any]) -> None:
    problem(client.post("/api/llm-prompts/chat", json=body), 422)
    assert client.get("/api/llm-prompts/chat").json()["is_default"] is True


def test_only_admins_write(somebody: Client) -> None:
    problem(somebody.post("/api/llm-prompts/chat", json={"system_prompt": "x"}), 403)
    problem(somebody.delete("/api/llm-prompts/chat"), 403)
    assert somebody.get("/api/llm-prompts/chat").status_code == 200
    with reading() as session:
        assert session.exec(select(LlmPrompt)).all() == []


def test_two_at_the_same_moment_leave_one_active(client: Client) -> None:
    def write(words: str) -> Callable[[], int]:
        return lambda: client.post("/api/llm-prompts/chat", json={"system_prompt": words}).status_code

    statuses = factories.at_once(*[write(f"Number {number}.") for number in range(4)])
    assert set(statuses) <= {200, 409}
    with reading() as session:
        rows = session.exec(select(LlmPrompt)).all()
    assert len(rows) == statuses.count(200) >= 1
    assert [row.is_active for row in rows].count(True) == 1


def test_a_chat_is_told_it_unless_it_brings_its_own(client: Client) -> None:
    client.post("/api/llm-prompts/chat", json={"system_prompt": "Be brief."})
    headers = {"Prefer": "respond-async"}
    for given, told in (({}, "Be brief."), ({"system": "Be long."}, "Be long.")):
        client.post("/api/chat", json={"message": "Hi", **given}, headers=headers)
        assert factories.all_jobs(Kind.CHAT)[-1].input["system"] == told
    client.delete("/api/llm-prompts/chat")
    client.post("/api/chat", json={"message": "Hi"}, headers=headers)
    assert "system" not in factories.all_jobs(Kind.CHAT)[-1].input
