"""FAITHH's document: every request of its "Testing Commands" does what it says there, host and port aside."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tests import factories
from tests.api.helpers import work

Client = TestClient[Litestar]

# As they stand in the document.
COMMANDS = r"""
# Get current stats
curl http://localhost:5557/api/session/stats

# Reset session
curl -X POST http://localhost:5557/api/session/reset

# Get avatar states
curl http://localhost:5557/api/avatar/state

# Update FAITHH state
curl -X POST http://localhost:5557/api/avatar/state \
  -H "Content-Type: application/json" \
  -d '{"character":"faithh","status":"busy","activity":"thinking"}'

# Get history
curl http://localhost:5557/api/chat/history

# Get last 10 messages
curl "http://localhost:5557/api/chat/history?limit=10"

# Clear history
curl -X DELETE http://localhost:5557/api/chat/history

# List available models
curl http://localhost:5557/api/models

# Switch to different model
curl -X POST http://localhost:5557/api/models/switch \
  -H "Content-Type: application/json" \
  -d '{"model_id":"llama3.1-8b"}'

# 3. Test current backend works
curl http://localhost:5557/api/status
"""
# The fields that the document shows of each answer, nested ones with a dot.
SHAPES = {
    "GET /api/session/stats": "success stats.message_count stats.token_count stats.session_start "
    "stats.session_duration stats.avg_response_time stats.last_activity",
    "POST /api/session/reset": "success message",
    "GET /api/avatar/state": "success avatars.faithh.status avatars.faithh.activity avatars.faithh.last_active "
    "avatars.pulse.status avatars.pulse.activity avatars.pulse.metrics.cpu_usage avatars.pulse.metrics.memory_usage "
    "avatars.pulse.metrics.active_connections",
    "POST /api/avatar/state": "success updated",
    "GET /api/chat/history": "success messages total_count",
    "GET /api/chat/history?limit=10": "success messages total_count",
    "DELETE /api/chat/history": "success message",
    "GET /api/models": "success models.gemini.available models.gemini.default models.ollama.available "
    "models.ollama.status current_model",
    "POST /api/models/switch": "success current_model.name current_model.provider current_model.last_response_time "
    "current_model.last_tokens",
    "GET /api/status": "success timestamp services.chromadb.status services.chromadb.documents "
    "services.chromadb.collections services.chromadb.health services.gemini.status services.gemini.model "
    "services.gemini.rate_limit services.ollama.status services.ollama.models services.ollama.count server.uptime "
    "server.cpu_usage server.memory_usage server.active_sessions workspace.upload_folder workspace.uploaded_files",
}


def parsed() -> list[tuple[str, str, dict[str, str], str | None]]:
    """(method, path with query, headers, body) of every curl line."""
    found = []
    for line in COMMANDS.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words.pop(0) == "curl"
        method, headers, body, url = "GET", {}, None, ""
        while words:
            match words.pop(0):
                case "-X":
                    method = words.pop(0)
                case "-H":
                    name, _, value = words.pop(0).partition(": ")
                    headers[name] = value
                case "-d":
                    body = words.pop(0)
                case address:
                    url = address
        found.append((method, url.removeprefix("http://localhost:5557"), headers, body))
    return found


def has(body: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(body, dict) or name not in body:
            return False
        body = body[name]
    return True


@pytest.fixture
def with_model(client: Client, settings: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """The document's model lies among those of this machine."""
    models = tmp_path / "data" / "models"
    models.mkdir(parents=True, exist_ok=True)
    (models / "llama3.1-8b.gguf").write_bytes(b"GGUF")
    return client


def test_all_commands_are_read() -> None:
    assert [f"{method} {path}" for method, path, _, _ in parsed()] == list(SHAPES)


@pytest.mark.parametrize(("method", "path", "headers", "body"), parsed())
def test_a_command_answers_in_its_shape(
    with_model: Client, method: str, path: str, headers: dict[str, str], body: str | None
) -> None:
    response = with_model.request(method, path, headers=headers, content=body)
    assert response.status_code == 200, response.text
    told = response.json()
    assert told["success"] is True
    assert [name for name in SHAPES[f"{method} {path}"].split() if not has(told, name)] == []


def test_an_unknown_model_is_404_in_its_shape(client: Client) -> None:
    response = client.post("/api/models/switch", json={"model_id": "llama3.1-8b"})
    assert response.status_code == 404
    assert response.json().items() >= {"success": False, "error": "Model not found"}.items()


def test_the_endpoints_that_were_there_before(client: Client) -> None:
    for path in ("/", "/health", "/api/status", "/api/workspace/scan"):
        assert client.get(path).status_code == 200, path


def test_history_is_in_the_documents_structure(client: Client) -> None:
    asked = client.post("/api/chat", json={"message": "User message"}, headers={"prefer": "respond-async"}).json()
    settle(asked["id"])
    body: dict[str, Any] = client.get("/api/chat/history").json()
    question, answer = body["messages"]
    assert body["total_count"] == 2
    assert question.keys() >= {"id", "role", "content", "timestamp"}
    assert answer.keys() >= {"id", "role", "content", "model", "tokens", "response_time", "sources", "timestamp"}
    assert (question["role"], question["content"], answer["role"]) == ("user", "User message", "assistant")
    assert isinstance(answer["sources"], list)


def settle(job_id: str) -> None:
    """Answered without the index worker, which nobody waits for here."""
    factories.change(job_id, checkpoint={"passages": []})
    work(job_id)
