"""Which models there are, and which does a kind of work when nobody names one."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from storage import llm_defaults
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER, User
from tests.api.conftest import Start
from tests.api.helpers import problem

Client = TestClient[Litestar]


@pytest.fixture
def client(start: Start) -> Client:
    return start(OPENAI_API_KEY="sk-test-0123456789")


def test_providers_tell_models_windows_and_abilities(client: Client) -> None:
    told = client.get("/api/llm-defaults/providers").json()
    by_id = {provider["id"]: provider for provider in told["providers"]}
    assert told["total"] == len(by_id)
    assert {"openai", "anthropic", "xai", "gemini", "ollama", "compatible", "local", "extractive"} == by_id.keys()
    assert (by_id["openai"]["status"], by_id["openai"]["configured"]) == ("online", True)
    assert (by_id["anthropic"]["status"], by_id["anthropic"]["configured"]) == ("offline", False)
    (model,) = [model for model in by_id["openai"]["models"] if model["id"] == "gpt-4o"]
    assert (model["context_tokens"], "tools" in model["abilities"]) == (128_000, True)


@pytest.mark.parametrize("name", ["chat", "summary", "project_draft", "project_draft_chat"])
def test_a_default_is_chosen(client: Client, name: str) -> None:
    path = f"/api/llm-defaults/{name}"
    first = client.get(path).json()
    assert (first["prompt_type"], first["is_default"]) == (name, True)
    assert (first["llm_provider"], first["llm_model"]) == ("openai", "gpt-4o-mini")
    for body in (
        {"llm_provider": "openai", "llm_model": "gpt-4o"},
        {"llm_model": "openai/gpt-4o"},
        {"llm_model": "gpt-4o"},
    ):
        answer = client.put(path, json=body)
        assert answer.status_code == 200
        told = client.get(path).json()
        assert told == answer.json()
        assert (told["llm_provider"], told["llm_model"], told["is_default"]) == ("openai", "gpt-4o", False)
        assert told["updated_by_user_id"] == LOCAL_OWNER
    with reading() as session:
        assert llm_defaults.resolve(session, LOCAL_OWNER, name) == "openai/gpt-4o"


def test_the_house_may_do_without_a_model(client: Client) -> None:
    told = client.put("/api/llm-defaults/summary", json={"llm_model": "extractive"}).json()
    assert (told["llm_provider"], told["llm_model"]) == ("extractive", "extractive")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"llm_model": "gpt-99"}, 404),
        ({"llm_provider": "openai", "llm_model": "claude-sonnet-4"}, 404),
        ({"llm_provider": "nobody", "llm_model": "gpt-4o"}, 404),
        ({"llm_provider": "xai", "llm_model": "grok-3"}, 409),
        ({}, 422),
        ({"llm_provider": "openai"}, 422),
        ({"llm_model": ""}, 422),
        ({"llm_model": "gpt-4o", "more": 1}, 422),
    ],
)
def test_what_cannot_be_chosen(client: Client, body: dict[str, Any], status: int) -> None:
    problem(client.put("/api/llm-defaults/chat", json=body), status)
    assert client.get("/api/llm-defaults/chat").json()["is_default"] is True


def test_a_kind_of_work_that_is_none(client: Client) -> None:
    problem(client.get("/api/llm-defaults/poem"), 404)
    problem(client.put("/api/llm-defaults/poem", json={"llm_model": "gpt-4o"}), 404)


def test_only_admins_choose(client: Client) -> None:
    with transaction() as session:
        user = session.get(User, LOCAL_OWNER)
        assert user is not None
        user.role = "user"
        session.add(user)
    problem(client.put("/api/llm-defaults/chat", json={"llm_model": "gpt-4o"}), 403)
    assert client.get("/api/llm-defaults/chat").json()["is_default"] is True
