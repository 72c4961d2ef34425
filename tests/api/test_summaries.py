"""A summary is asked for, read and put right by the one whose conversation it is."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from storage import conversations, summaries
from storage.database import transaction
from storage.tables import Conversation
from tests import factories
from tests.api.conftest import Listening
from tests.api.helpers import Json, fields, newest_job, problem, work

Client = TestClient[Litestar]
FIELDS = {"conversation_id", "summary", "model", "is_edited", "stale", "created_at", "updated_at", "job_id"}


def talk(*said: str) -> str:
    conversation_id = factories.conversation()
    for text in said or ("How do I grow tomatoes on a small balcony?",):
        factories.question(conversation_id, text)
    return conversation_id


def written(conversation_id: str, text: str = "About tomatoes.", **values: Any) -> None:
    given = {"text": text, "model": "tiny", "content_version": 1, "place": None, **values}
    with transaction() as session:
        summaries.write(session, conversation_id, replace_edited=False, **given)


def lock(conversation_id: str) -> None:
    with transaction() as session:
        row = session.get(Conversation, conversation_id)
        assert row is not None
        row.is_locked = True
        session.add(row)


def shown(client: Client, conversation_id: str) -> Json:
    response = client.get(f"/api/conversations/{conversation_id}/imported_chat_summary")
    assert response.status_code == 200, response.text
    body: Json = response.json()
    assert body.keys() == FIELDS
    return body


def made(client: Client, conversation_id: str, body: Json | None = None, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/api/conversations/{conversation_id}/summary", json=body or {}, headers=named)


# --- reading


def test_the_summary_there_is(client: Client) -> None:
    conversation = talk()
    written(conversation)
    body = shown(client, conversation)
    assert (body["conversation_id"], body["summary"], body["model"]) == (conversation, "About tomatoes.", "tiny")
    assert (body["is_edited"], body["stale"], body["job_id"]) == (False, False, None)


def test_it_says_when_the_conversation_went_on(client: Client) -> None:
    conversation = talk()
    written(conversation)
    with transaction() as session:
        conversations.touch(session, conversation)
    assert shown(client, conversation)["stale"] is True


def test_none_yet_is_404_and_says_how_to_get_one(client: Client) -> None:
    conversation = talk()
    path = f"/api/conversations/{conversation}/imported_chat_summary"
    assert "POST" in problem(client.get(path), 404)["detail"]
    job = made(client, conversation).json()
    assert job["id"] in problem(client.get(path), 404)["detail"]


def test_somebody_elses_is_404(client: Client) -> None:
    conversation = factories.conversation(factories.owner())
    written(conversation)
    base = f"/api/conversations/{conversation}"
    for response in (
        client.get(f"{base}/imported_chat_summary"),
        client.post(f"{base}/summary", json={}),
        client.patch(f"{base}/summary", json={"summary": "Mine."}),
        client.post("/api/jobs", json={"kind": "summarize", "input": {"conversation_id": conversation}}),
    ):
        assert problem(response, 404)["detail"] == f"There is no conversation {conversation}."
    assert factories.all_jobs() == []


# --- asking for one


def test_one_is_asked_for(client: Client) -> None:
    conversation = talk()
    response = made(client, conversation, {"model": "extractive", "replace_edited": True})
    job = response.json()
    assert (response.status_code, job["kind"], job["status"]) == (202, "summarize", "queued")
    assert response.headers["location"] == f"/api/jobs/{job['id']}"
    row = factories.load(job["id"])
    assert row.input == {"conversation_id": conversation, "model": "extractive", "replace_edited": True}
    assert (row.serial_key, row.conversation_id) == (f"summarize:{conversation}", conversation)
    work(job["id"])
    body = shown(client, conversation)
    assert "> User: How do I grow tomatoes on a small balcony?" in body["summary"]
    assert body["model"] == "extractive"


def test_no_body_takes_what_is_there(client: Client) -> None:
    response = client.post(f"/api/conversations/{talk()}/summary")
    assert response.status_code == 202
    assert factories.load(response.json()["id"]).input["model"] is None


def test_the_jobs_surface_asks_the_same_way(client: Client) -> None:
    conversation = talk()
    job = client.post("/api/jobs", json={"kind": "summarize", "input": {"conversation_id": conversation}}).json()
    row = factories.load(job["id"])
    assert (row.serial_key, row.conversation_id) == (f"summarize:{conversation}", conversation)


def test_whoever_waits_gets_the_summary(live: Listening, meanwhile: Any) -> None:
    conversation = talk()
    path = f"/api/conversations/{conversation}/summary"
    waiting: Future[Any] = meanwhile(live.client.post, path, json={}, headers={"prefer": "wait=20"})
    job_id = newest_job("summarize")
    work(job_id)
    response = waiting.result()
    body = response.json()
    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=20")
    assert body.keys() == FIELDS
    assert (body["model"], body["job_id"]) == ("extractive", job_id)


def test_whoever_waits_is_told_of_the_proposal_beside_the_persons_own(live: Listening, meanwhile: Any) -> None:
    conversation = talk()
    path = f"/api/conversations/{conversation}/summary"
    live.client.patch(path, json={"summary": "My own words."})
    waiting: Future[Any] = meanwhile(live.client.post, path, json={}, headers={"prefer": "wait=20"})
    work(newest_job("summarize"))
    body = waiting.result().json()
    assert (body["summary"], body["is_edited"]) == ("My own words.", True)
    assert body["proposal"].startswith("No language model is loaded")


def test_a_conversation_without_messages_is_told_to_whoever_waits(live: Listening, meanwhile: Any) -> None:
    path = f"/api/conversations/{factories.conversation()}/summary"
    waiting: Future[Any] = meanwhile(live.client.post, path, json={}, headers={"prefer": "wait=20"})
    work(newest_job("summarize"))
    assert "no messages" in problem(waiting.result(), 422)["detail"]


def test_the_same_key_is_the_same_job(client: Client) -> None:
    conversation = talk()
    first = made(client, conversation, idempotency_key="k").json()
    assert made(client, conversation, idempotency_key="k").json()["id"] == first["id"]
    problem(made(client, talk(), idempotency_key="k"), 422)


@pytest.mark.parametrize("body", [{"unknown": 1}, {"model": 5}, {"model": "x" * 201}, {"replace_edited": "perhaps"}])
def test_what_cannot_be_asked_for(client: Client, body: Json) -> None:
    assert fields(problem(made(client, talk(), body), 422)) == set(body)


# --- a person's own


def test_a_person_puts_it_right(client: Client) -> None:
    conversation = talk()
    written(conversation, content_version=0)
    assert shown(client, conversation)["stale"] is True
    response = client.patch(f"/api/conversations/{conversation}/summary", json={"summary": "  My own words. "})
    body = response.json()
    assert response.status_code == 200
    assert body == shown(client, conversation)
    assert (body["summary"].strip(), body["is_edited"], body["stale"]) == ("My own words.", True, False)
    assert body["model"] == "tiny"


def test_a_person_may_write_the_first_one(client: Client) -> None:
    conversation = talk()
    body = client.patch(f"/api/conversations/{conversation}/summary", json={"summary": "Mine."}).json()
    assert (body["summary"], body["is_edited"], body["model"]) == ("Mine.", True, None)


def test_a_locked_conversations_summary_is_not_edited(client: Client) -> None:
    conversation = talk()
    written(conversation)
    lock(conversation)
    path = f"/api/conversations/{conversation}/summary"
    problem(client.patch(path, json={"summary": "Mine."}), 409)
    assert shown(client, conversation)["summary"] == "About tomatoes."


@pytest.mark.parametrize("body", [{}, {"summary": ""}, {"summary": " \n"}, {"summary": 5}, {"summary": "a", "b": 1}])
def test_what_is_no_summary(client: Client, body: Json) -> None:
    problem(client.patch(f"/api/conversations/{talk()}/summary", json=body), 422)
