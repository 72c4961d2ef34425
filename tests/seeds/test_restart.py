"""kill -9 of the web process and every worker: what people have made and chosen is there afterwards, as it was."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.seeds.given import Given
from tests.seeds.house import MODEL, PROMPT_TYPE, House

pytestmark = pytest.mark.slow
SHOWN = (
    "/api/conversations/{conversation}",
    "/api/conversations/{summarised}/imported_chat_summary",
    "/api/conversations/{drafted}/project-draft",
    "/api/conversations/{drafted}/project-draft/versions",
    "/api/conversations/{discussed}/project-draft/chat",
    "/api/conversations/{projected}/project",
    "/api/conversations/{filed}/files",
    "/api/sessions/{felt}/history",
    "/chat/history/{felt}",
    "/api/chat/history?session_id={felt}",
    "/api/llm-prompts/{type}",
    "/api/llm-defaults/{type}",
    "/api/auth/me",
)


def test_everything_survives(home: House, clients: dict[str, httpx.Client]) -> None:
    client = clients[home.ways[-1]]
    client.post("/api/models/switch", json={"model_id": "claude-sonnet-4"}).raise_for_status()
    client.post(f"/api/llm-prompts/{PROMPT_TYPE}", json={"system_prompt": "Rhyme."}).raise_for_status()
    before = {address: told(client, address) for address in (Given(home, client).fill(one) for one in SHOWN)}
    body = {"message": "Hello", "model": MODEL, "session_id": Given(home, client).session}
    under_way = client.post("/api/chat", json=body, headers={"Prefer": "respond-async"}).json()["links"]["self"]

    home.restart()
    assert {address: told(client, address) for address in before} == before
    assert told(client, "/api/models")["current_model"] == "claude-sonnet-4"
    for way in home.ways:  # nobody has to sign in again
        assert told(clients[way], "/api/auth/me") == before["/api/auth/me"]
    home.up.wait(lambda: told(client, under_way)["status"] == "succeeded", what="the answer under way")
    client.post("/api/models/switch", json={"model_id": None}).raise_for_status()  # for the tests after this
    client.delete(f"/api/llm-prompts/{PROMPT_TYPE}").raise_for_status()


def told(client: httpx.Client, address: str) -> dict[str, Any]:
    """Without what the index worker may change at any moment."""
    answer = client.get(address)
    assert answer.status_code == 200, f"{address}: {answer.text}"
    return {name: value for name, value in answer.json().items() if name != "indexed"}
