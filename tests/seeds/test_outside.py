"""What the services outside answer wrongly is told clearly at our own doors: a problem with a sentence, no secret in
it, and nothing half done behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.helpers import problem
from tests.seeds.given import NOW, Given
from tests.seeds.house import House
from tests.seeds.shapes import check_events, frames
from tests.standins import anthropic_server, openai_server
from tests.standins import linear_server as linear_standin
from tests.standins.linear_server import refusal
from tests.standins.server import Reply

pytestmark = pytest.mark.slow
Json = dict[str, Any]
SECRETS = (openai_server.KEY, anthropic_server.KEY, linear_standin.KEY)
ALWAYS = 9  # more tries than any job has


@pytest.fixture
def client(home: House, clients: dict[str, httpx.Client]) -> httpx.Client:
    return clients[home.ways[-1]]


@pytest.fixture
def given(home: House, client: httpx.Client) -> Given:
    return Given(home, client)


def told(answer: httpx.Response, status: int, code: str, words: str) -> Json:
    body = problem(answer, status)
    assert body["code"] == code
    assert words in body["detail"]
    assert not any(secret in answer.text for secret in SECRETS)
    return body


# --- providers

CHATS: dict[str, Callable[[str], Json]] = {
    "/api/chat": lambda model: {"message": "Hello", "model": model, "use_rag": False},
    "/chat": lambda model: {"prompt": "Hello", "model": model, "use_rag": False},
    "/api/text-chat": lambda model: {"text": "Hello", "model": model, "use_rag": False},
}
TROUBLES = [
    (429, 503, "provider_unavailable"),
    (500, 503, "provider_unavailable"),
    (401, 502, "provider_refused"),
    (400, 502, "provider_refused"),
]


@pytest.mark.parametrize(
    ("path", "status", "ours", "code"),
    [("/api/chat", *trouble) for trouble in TROUBLES] + [("/chat", *TROUBLES[0]), ("/api/text-chat", *TROUBLES[2])],
)
@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-sonnet-4"])
def test_a_provider_fails(
    home: House, client: httpx.Client, path: str, model: str, status: int, ours: int, code: str
) -> None:
    server, name = (home.openai, "OpenAI") if model.startswith("gpt") else (home.anthropic, "Anthropic")
    server.answers(*[server.refused(status, f"No, {SECRETS[0]}, {SECRETS[1]}.")] * ALWAYS)
    body = told(client.post(path, json=CHATS[path](model)), ours, code, name)
    if path == "/api/chat":
        assert (body["success"], body["error"]) == (False, body["detail"])


@pytest.mark.parametrize(
    "reply", [Reply(b"<html>", headers={"Content-Type": "text/html"}), Reply(end="cut"), Reply(b"data: {{\n\n")]
)
def test_a_provider_talks_nonsense(home: House, client: httpx.Client, reply: Reply) -> None:
    home.openai.answers(*[reply] * ALWAYS)
    answer = client.post("/api/chat", json=CHATS["/api/chat"]("gpt-4o-mini"))
    assert answer.status_code in (502, 503)
    assert "OpenAI" in problem(answer, answer.status_code)["detail"]


def test_claude_fails_in_the_middle_of_a_stream(home: House, client: httpx.Client, given: Given) -> None:
    home.anthropic.answers(*[home.anthropic.refused(401, "No.")] * ALWAYS)
    body = {"message": "Make it shorter.", "llm_model": "claude-sonnet-4"}
    answer = client.post(f"/api/conversations/{given.drafted}/project-draft/chat/stream", json=body)
    assert answer.status_code == 200
    check_events([{"type": "status", "status": "text"}, {"type": "error", "message": "text"}], frames(answer))
    assert "Anthropic" in frames(answer)[-1]["message"]


# --- Linear


@pytest.mark.parametrize(
    ("reply", "status", "code", "words"),
    [
        (refusal("Who?", "AUTHENTICATION_ERROR", 401), 502, "provider_refused", "LINEAR_ACCESS_KEY"),
        ((503, b"", {}), 503, "provider_unavailable", "Linear answered 503"),
        ((500, b"<html>", {}), 503, "provider_unavailable", "Linear answered 500"),
        (refusal("Slowly", "RATELIMITED"), 503, "provider_unavailable", "left alone"),
        (refusal("Not today", "INVALID_INPUT"), 502, "provider_refused", "Not today"),
        ((200, b"<html>", {}), 502, "provider_refused", "cannot be read"),
    ],
)
def test_linear_fails(
    home: House, client: httpx.Client, given: Given, reply: Any, status: int, code: str, words: str
) -> None:
    home.linear.replies = [reply] * ALWAYS
    path = f"/api/conversations/{given.drafted}/project"
    told(client.post(path, json={}), status, code, words)
    home.linear.replies = []
    problem(client.get(path), 404)
    assert client.get(f"/api/conversations/{given.drafted}").json()["is_locked"] is False
    assert client.post(path, json={}).status_code == 200, "and a later try makes it"


# --- summaries and memories


@pytest.mark.parametrize(
    ("reply", "status", "code", "words"),
    [
        ((401, {}, {}), 502, "provider_refused", "METACOGNITION_AUTH_TOKEN"),
        ((500, {}, {}), 503, "provider_unavailable", "500"),
        ((429, {}, {}), 503, "provider_unavailable", "429"),
        ((200, b"<html>", {}), 502, "provider_refused", "no summary"),
        ((200, {"status": "failed", "summary_id": "a"}, {}), 502, "provider_refused", "could not summarise"),
    ],
)
def test_the_summary_service_fails(
    home: House, client: httpx.Client, given: Given, reply: Any, status: int, code: str, words: str
) -> None:
    session = given.talked
    home.metacognition.replies = [reply] * ALWAYS
    told(client.post(f"/api/conversations/{session}/summary", json={}, headers=NOW), status, code, words)
    home.metacognition.replies = []
    problem(client.get(f"/api/conversations/{session}/imported_chat_summary"), 404)


def test_a_draft_is_written_without_memories(home: House, client: httpx.Client, given: Given) -> None:
    home.mem0.fails_with = (500, b"<html>")
    try:
        found = frames(client.post("/api/conversations/import", json={"url": given.new_link}))
    finally:
        home.mem0.fails_with = None
    check_events([{"type": "done", "conversation": "object", "project_draft": {"title": "text"}}], found)


# --- share links and the issuer


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [(404, b"", "CHAT_NOT_FOUND"), (403, b"", "BLOCKED"), (200, b"<html>", "FORMAT_CHANGED")],
)
def test_a_share_link_fails(
    home: House, client: httpx.Client, given: Given, status: int, body: bytes, code: str
) -> None:
    link = given.new_link
    home.page.status, home.page.body = status, body
    try:
        found = frames(client.post("/api/conversations/import", json={"url": link}))
        check_events([{"type": "error", "message": "text", "code": code}], found)
        slack = client.post("/api/conversations/import-slack", json={"url": link, "user_id": given.me})
        assert json.loads(slack.content)["error"] == code
        problem(slack, 400)
    finally:
        home.page.status = 200


@pytest.mark.parametrize("home", ["required"], indirect=True)
def test_the_issuer_is_away(home: House) -> None:
    with home.client("nobody") as nobody:
        query = Given(home, nobody).consent
        home.issuer.status = 500
        try:
            problem(nobody.get(f"/api/auth/callback?{query}"), 503)
        finally:
            home.issuer.status = 200
        problem(nobody.get("/api/auth/me"), 401)
