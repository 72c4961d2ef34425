"""ClarityMentor's REST part, as its document shows it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import update
from sqlmodel import col

from storage import answer_cache, emotions, model_cache, presence
from storage.database import transaction
from storage.presence import WorkerPresence
from storage.tables import LOCAL_OWNER, Conversation
from tests import factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import fields, newest_job, problem, work

Client = TestClient[Litestar]
CALM = {"primary_emotion": "neutral", "confidence": 0.8, "scores": {"neutral": 0.8, "joy": 0.2}, "backend": "test"}


def ready(role: str, state: str = "ready", **more: str) -> WorkerPresence:
    return WorkerPresence(role, [role], 1, models={role: {"state": state, **more}})


def test_health_tells_whether_the_models_are_loaded(start: Start) -> None:
    client = start(VOICE_ENABLED="false")
    body = client.get("/api/health").json()
    assert body.keys() == {"status", "models_loaded", "models", "timestamp"}
    assert (body["status"], body["models_loaded"]) == ("healthy", False)
    assert body["models"] == {part: {"state": "missing", "detail": None} for part in ("language", "embedding")}
    presence.report(ready("language"))
    presence.report(ready("embedding", "loading"))
    assert client.get("/api/health").json()["models_loaded"] is False
    presence.report(ready("embedding"))
    assert client.get("/api/health").json()["models_loaded"] is True


@pytest.mark.parametrize(
    ("role", "loaded"),
    [("transcriber", False), ("speech_emotion", False), ("voice_activity", False), ("speaker", True)],
)
def test_only_the_speaker_is_no_reason_to_wait(client: Client, role: str, loaded: bool) -> None:
    for part in ("language", "embedding", "transcriber", "speaker", "speech_emotion", "voice_activity"):
        presence.report(ready(part))
    assert client.get("/api/health").json()["models_loaded"] is True
    presence.report(ready(role, "loading"))
    assert client.get("/api/health").json()["models_loaded"] is False
    presence.report(ready(role, "failed", name="/secret/path", detail="It is not installed."))
    body = client.get("/api/health").json()
    assert (body["models_loaded"], body["models"][role]) == (
        loaded, {"state": "failed", "detail": "It is not installed."},
    )  # fmt: skip


def test_a_session_from_its_beginning_to_its_end(live: Listening, meanwhile: Callable[..., Future[Any]]) -> None:
    client = live.client
    session_id = client.post("/api/sessions").json()["session_id"]
    body = {"text": "How are you?", "session_id": session_id, "use_rag": False}
    waiting = meanwhile(client.post, "/api/text-chat", json=body)
    job_id = newest_job()
    assert factories.load(job_id).input["emotion"] is True
    (question,) = factories.all_messages(session_id)
    with transaction() as session:
        emotions.keep(session, question, CALM)  # as the index worker would tell it
    work(job_id)
    told = waiting.result().json()
    assert told.items() >= {"session_id": session_id, "emotion": CALM}.items()
    assert told["response"]

    history = client.get(f"/api/sessions/{session_id}/history").json()
    assert (history["session_id"], len(history["turns"])) == (session_id, 2)
    asked, answered = history["turns"]
    assert (asked["role"], asked["content"], asked["emotion"]) == ("user", "How are you?", CALM)
    assert (answered["role"], answered["content"], answered["emotion"]) == ("assistant", told["response"], None)
    (moment,) = history["emotion_timeline"]
    assert moment.items() >= {"timestamp": asked["timestamp"], "primary_emotion": "neutral", "confidence": 0.8}.items()
    assert history["created_at"] <= asked["timestamp"]

    assert client.delete(f"/api/sessions/{session_id}").json()["success"] is True
    problem(client.get(f"/api/sessions/{session_id}/history"), 404)
    problem(client.delete(f"/api/sessions/{session_id}"), 404)
    assert model_cache.forgotten_at() > 0


def test_without_a_session_it_is_the_current_one(client: Client) -> None:
    session_id = client.post("/api/sessions").json()["session_id"]
    later = client.post("/api/text-chat", json={"text": "Hello"}, headers={"prefer": "respond-async"})
    assert (later.status_code, later.json()["conversation_id"]) == (202, session_id)


def test_a_missing_emotion_fails_no_chat(
    live: Listening, meanwhile: Callable[..., Future[Any]], settings: pytest.MonkeyPatch
) -> None:
    from tasks import emotions as asks

    settings.setattr(asks, "get_settings", lambda: type("Short", (), {"chat_wait_emotion_s": 0.05}))
    waiting = meanwhile(live.client.post, "/api/text-chat", json={"text": "Hello", "use_rag": False})
    work(newest_job())
    assert waiting.result().status_code == 200
    assert waiting.result().json()["emotion"] is None


def test_unusable_texts_are_422(client: Client) -> None:
    for body in ({}, {"text": ""}, {"text": " "}, {"text": 5}):
        assert fields(problem(client.post("/api/text-chat", json=body), 422)) == {"text"}
    assert fields(problem(client.post("/api/text-chat", json={"text": "a", "message": "b"}), 422)) == {"message"}
    problem(client.post("/api/text-chat", json={"text": "a", "session_id": "nope"}), 404)
    assert factories.all_jobs() == []


def test_options_come_through(client: Client) -> None:
    body = {"text": "a", "temperature": 0, "response_format": {"type": "json_schema", "schema": {"type": "object"}}}
    job_id = client.post("/api/text-chat", json=body, headers={"prefer": "respond-async"}).json()["id"]
    given = factories.load(job_id).input
    assert (given["temperature"], given["response_format"]) == (0, body["response_format"])
    assert "text" not in given


def test_sessions_are_listed_newest_first(client: Client) -> None:
    ids = [client.post("/api/sessions").json()["session_id"] for _ in range(3)]
    factories.question(ids[0])
    body = client.get("/api/sessions", params={"limit": 2, "offset": 1}).json()
    assert (body["total"], body["limit"], body["offset"]) == (3, 2, 1)
    assert [row["session_id"] for row in body["sessions"]] == [ids[1], ids[0]]
    assert [row["message_count"] for row in body["sessions"]] == [0, 1]
    for limit in (0, -1, "x"):
        problem(client.get("/api/sessions", params={"limit": limit}), 422)


def test_somebody_elses_session_is_404(client: Client) -> None:
    session_id = factories.conversation(factories.owner())
    problem(client.get(f"/api/sessions/{session_id}/history"), 404)
    problem(client.delete(f"/api/sessions/{session_id}"), 404)
    assert client.get("/api/sessions").json()["total"] == 0


def test_a_locked_session_is_not_deleted(client: Client) -> None:
    session_id = client.post("/api/sessions").json()["session_id"]
    with transaction() as session:
        session.execute(update(Conversation).where(col(Conversation.id) == session_id).values(is_locked=True))
    problem(client.delete(f"/api/sessions/{session_id}"), 409)


def test_a_deleted_session_takes_cached_answers_along(client: Client) -> None:
    session_id = client.post("/api/sessions").json()["session_id"]
    _, ticket = answer_cache.find(LOCAL_OWNER, "key")
    assert ticket is not None
    assert answer_cache.put(ticket, {"content": "secret"})
    client.delete(f"/api/sessions/{session_id}")
    assert answer_cache.find(LOCAL_OWNER, "key")[0] is None
