"""/api/chat and its history, as FAITHH's clients know them, and the sessions behind them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import update
from sqlmodel import col

from storage import model_cache
from storage.database import transaction
from storage.tables import Conversation
from tests import factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import Json, fail, faithh_problem, fields, job_ids, newest_job, problem, work
from tests.servers import wait_until

Client = TestClient[Litestar]
Meanwhile = Callable[..., Future[Any]]
LATER = {"prefer": "respond-async"}


def ask(client: httpx.Client, message: str = "Hello", **options: object) -> httpx.Response:
    return client.post("/api/chat", json={"message": message, "use_rag": False, **options})


def ask_later(client: httpx.Client, message: object = "Hello", **options: object) -> httpx.Response:
    return client.post("/api/chat", json={"message": message, "use_rag": False, **options}, headers=LATER)


def history(client: httpx.Client, **params: Any) -> Json:
    response = client.get("/api/chat/history", params=params)
    assert response.status_code == 200
    return response.json()


def lock(conversation_id: str) -> None:
    with transaction() as session:
        session.execute(update(Conversation).where(col(Conversation.id) == conversation_id).values(is_locked=True))


# --- asking


def test_a_question_waits_for_its_answer(live: Listening, meanwhile: Meanwhile) -> None:
    waiting = meanwhile(ask, live.client, "What is a job?")
    job_id = newest_job()
    work(job_id)
    response = waiting.result()
    assert response.status_code == 200
    body = response.json()
    assert body["success"] is True
    assert body["response"]
    assert body["sources"] is None
    assert body["job_id"] == job_id
    assert body["metadata"].keys() >= {"model", "tokens", "response_time", "rag_used"}
    assert body["metadata"]["rag_used"] is False
    assert body["metadata"]["response_time"] >= 0

    told = history(live.client)
    assert (told["success"], told["total_count"], told["session_id"]) == (True, 2, body["session_id"])
    question, answer = told["messages"]
    assert (question["role"], question["content"]) == ("user", "What is a job?")
    assert (answer["role"], answer["content"], answer["id"]) == ("assistant", body["response"], body["message_id"])
    assert answer["model"] == body["metadata"]["model"]
    assert answer["timestamp"].endswith("Z")
    assert {"tokens", "response_time", "sources"} <= answer.keys()
    # what one surface writes the others show
    assert live.client.get(f"/api/conversations/{body['session_id']}").json()["title"] == "What is a job?"
    assert live.client.get(f"/api/jobs/{job_id}").json()["result"]["content"] == body["response"]


def test_chat_by_the_other_door_is_the_same_chat(client: Client) -> None:
    response = client.post("/api/jobs", json={"kind": "chat", "input": {"message": "Hello", "use_rag": False}})
    job = response.json()
    work(job["id"])
    assert client.get(f"/api/jobs/{job['id']}").json()["status"] == "succeeded"
    assert history(client, session_id=job["conversation_id"])["total_count"] == 2


def test_the_same_session_goes_on_until_another_is_opened(client: Client) -> None:
    first = ask_later(client).json()["conversation_id"]
    assert ask_later(client).json()["conversation_id"] == first
    opened = client.post("/api/sessions")
    assert (opened.status_code, opened.json().keys()) == (201, {"session_id", "created_at"})
    second = opened.json()["session_id"]
    assert ask_later(client).json()["conversation_id"] == second
    assert ask_later(client, session_id=first).json()["conversation_id"] == first
    assert ask_later(client).json()["conversation_id"] == second


def test_two_first_questions_at_once_open_one_session(live: Listening) -> None:
    answers = factories.at_once(*[lambda: ask_later(live.client) for _ in range(4)])
    assert len({answer.json()["conversation_id"] for answer in answers}) == 1


def test_unusable_questions_are_422(start: Start) -> None:
    client = start(MAX_MESSAGE_CHARS="100")
    for message in ("", " ", "\n\t", "\0", " \0 ", "x" * 101, 5, None, [], {"text": "x"}):
        assert fields(faithh_problem(ask_later(client, message), 422)) == {"message"}, message
    assert fields(faithh_problem(client.post("/api/chat", json={}), 422)) == {"message"}
    half = b'{"message": "\\ud83d"}'
    faithh_problem(client.post("/api/chat", content=half, headers={"content-type": "application/json"}), 400)
    assert job_ids() == []
    assert ask_later(client, "\U0001f600" * 100).status_code == 202


def test_nul_is_left_out(client: Client) -> None:
    ask_later(client, "a\0b")
    assert history(client)["messages"][0]["content"] == "ab"


def test_text_is_kept_as_it_is(client: Client) -> None:
    text = "\u202eänderbar\u0301\r\n\t<script>alert(1)</script> \U0001f468\u200d\U0001f469 '; DROP TABLE job;--"
    ask_later(client, text)
    assert history(client)["messages"][0]["content"] == text


UNUSABLE_OPTIONS: list[Json] = [
    {"nope": 1},
    {"temperature": -1},
    {"temperature": 5.1},
    {"top_p": 1.1},
    {"top_k": -1},
    {"min_p": 2},
    {"seed": -1},
    {"seed": 2**32},
    {"max_tokens": 0},
    {"max_tokens": 2**70},
    {"stop": [""]},
    {"stop": ["x"] * 17},
    {"stop": ["x" * 201]},
    {"stop": [1]},
    {"system": "x" * 100_001},
    {"system": "a\0"},
    {"model": "x" * 201},
    {"use_rag": "perhaps"},
    {"cancel_on_disconnect": "perhaps"},
    {"cache": "perhaps"},
    {"emotion": "perhaps"},
    {"session_id": 5},
    {"response_format": {"type": "nope"}},
    {"response_format": {"type": "json_schema", "nope": 1}},
    {"response_format": {"type": "grammar", "grammar": "x" * 65_537}},
    {"response_format": {"type": "json_schema"}},
    {"response_format": {"type": "grammar"}},
    {"response_format": {"type": "json_object", "schema": {}}},
    {"response_format": {"type": "json_schema", "schema": {}, "grammar": "root ::= x"}},
    {"repeat_penalty": 0},
    {"repeat_penalty": 2.1},
    {"frequency_penalty": -2.1},
    {"presence_penalty": "much"},
    {"logit_bias": {"5": 101}},
    {"logit_bias": {"the": 1}},
    {"logit_bias": {"-1": 1}},
    {"logit_bias": {"12345678": 1}},
    {"logit_bias": {str(token): 1 for token in range(301)}},
    {"logprobs": -1},
    {"logprobs": 21},
    {"logprobs": 0, "max_tokens": 4097},
    {"deadline_s": 0},
    {"deadline_s": 86_401},
]


def test_unusable_options_are_422(client: Client) -> None:
    for options in UNUSABLE_OPTIONS:
        body = {"message": "Hello", **options}
        (name,) = {field.split(".")[0] for field in fields(faithh_problem(client.post("/api/chat", json=body), 422))}
        assert name in options
        nested = problem(client.post("/api/jobs", json={"kind": "chat", "input": body}), 422)
        assert all(field.startswith("input") for field in fields(nested)), options
    assert job_ids() == []


def test_usable_options_reach_the_job(client: Client) -> None:
    options: Json = {
        "model": "m", "system": "Be kind.", "temperature": 0, "top_p": 1, "top_k": 0, "min_p": 0, "seed": 2**32 - 1,
        "max_tokens": 1, "stop": "END", "response_format": {"type": "json_schema", "schema": {"type": "object"}},
        "repeat_penalty": 2, "frequency_penalty": -2, "presence_penalty": 2, "logit_bias": {"0": -100, "9999999": 100},
        "logprobs": 20, "deadline_s": 86_400, "cache": True, "emotion": True,
    }  # fmt: skip
    job_id = ask_later(client, **options).json()["id"]
    kept = factories.load(job_id).input
    assert {name: kept[name] for name in options} == options | {"stop": ["END"]}


def test_rubbish_sessions_are_404(client: Client) -> None:
    for session_id in ("", "nope", "\0", "x" * 5000, "../../etc", "\U0001f600", "00000000-0000-7000-8000-000000000001"):
        faithh_problem(ask_later(client, session_id=session_id), 404)
    assert job_ids() == []


def test_a_locked_conversation_is_409(client: Client) -> None:
    conversation_id = factories.conversation()
    lock(conversation_id)
    faithh_problem(ask_later(client, session_id=conversation_id), 409)
    faithh_problem(client.delete("/api/chat/history", params={"session_id": conversation_id}), 409)
    assert job_ids() == []
    assert client.get(f"/api/conversations/{conversation_id}").json()["is_locked"] is True


def test_a_locked_session_is_left_for_a_new_one(client: Client) -> None:
    first = ask_later(client).json()["conversation_id"]
    lock(first)
    assert ask_later(client).json()["conversation_id"] != first


# --- ends that are no answer


@pytest.mark.parametrize(
    ("code", "status"),
    [("boom", 500), ("prompt_too_long", 422), ("unprocessable", 422), ("conflict", 409)],
)
def test_a_failed_answer_is_its_error(live: Listening, meanwhile: Meanwhile, code: str, status: int) -> None:
    waiting = meanwhile(ask, live.client)
    job_id = newest_job()
    fail(job_id, code, "It did not work.")
    body = faithh_problem(waiting.result(), status)
    assert (body["code"], body["detail"]) == (code, "It did not work.")
    assert waiting.result().headers["location"] == f"/api/jobs/{job_id}"


def test_a_cancelled_answer_is_409(live: Listening, meanwhile: Meanwhile) -> None:
    waiting = meanwhile(ask, live.client)
    live.client.post(f"/api/jobs/{newest_job()}/cancel")
    faithh_problem(waiting.result(), 409)


def test_an_unknown_model_is_422(live: Listening, meanwhile: Meanwhile) -> None:
    waiting = meanwhile(ask, live.client, model="no such model")
    work(newest_job())
    faithh_problem(waiting.result(), 422)


# --- going away


def hang_up(live: Listening, cancel_on_disconnect: bool) -> str:
    """Ask, wait until the server listens for the answer, and drop the connection; the job's id."""
    body = json.dumps({"message": "Hello", "use_rag": False, "cancel_on_disconnect": cancel_on_disconnect}).encode()
    head = (
        f"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    with socket.create_connection(("127.0.0.1", live.port)) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        job_id = newest_job()
        wait_until(lambda: live.hub.listeners == 1, what="the request to wait")
    wait_until(lambda: live.hub.listeners == 0, what="the server to notice")
    return job_id


def test_who_goes_away_cancels_when_it_said_so(live: Listening) -> None:
    job_id = hang_up(live, cancel_on_disconnect=True)
    wait_until(lambda: factories.load(job_id).status == "cancelled", what="the cancellation")


def test_who_goes_away_finds_the_answer_later(live: Listening) -> None:
    job_id = hang_up(live, cancel_on_disconnect=False)
    assert factories.load(job_id).status == "queued"
    work(job_id)
    assert history(live.client)["total_count"] == 2


# --- history


def test_there_is_no_history_before_the_first_question(client: Client) -> None:
    assert history(client) == {"success": True, "messages": [], "total_count": 0, "session_id": None}


def test_history_is_the_latest_oldest_first(start: Start) -> None:
    client = start(MAX_PAGE="4")
    for number in range(6):
        ask_later(client, f"Question {number}")
    told = history(client, limit=2)
    assert [message["content"] for message in told["messages"]] == ["Question 4", "Question 5"]
    assert told["total_count"] == 6
    for limit in ("4", "1000000", "99999999999999999999999"):
        assert len(history(client, limit=limit)["messages"]) == 4


def test_history_of_any_conversation(client: Client) -> None:
    conversation_id = factories.conversation()
    factories.question(conversation_id, "Why?")
    told = history(client, session_id=conversation_id)
    assert [message["content"] for message in told["messages"]] == ["Why?"]
    assert history(client)["total_count"] == 0


def test_a_cleared_history_is_empty(client: Client) -> None:
    work(ask_later(client).json()["id"])
    other = factories.conversation()
    factories.question(other)
    cleared = client.delete("/api/chat/history")
    assert cleared.status_code == 200
    assert cleared.json() == {"success": True, "message": "Chat history cleared", "removed": 2}
    assert model_cache.forgotten_at() > 0  # models forget, too
    told = history(client)
    assert (told["messages"], told["total_count"]) == ([], 0)
    assert client.delete("/api/chat/history").json()["removed"] == 0
    assert history(client, session_id=other)["total_count"] == 1
    assert client.delete("/api/chat/history", params={"session_id": other}).json()["removed"] == 1
    assert history(client, session_id=other)["total_count"] == 0
    ask_later(client)
    assert history(client)["total_count"] == 1


def test_a_question_cleared_before_its_answer_fails(client: Client) -> None:
    job_id = ask_later(client).json()["id"]
    client.delete("/api/chat/history")
    work(job_id)
    assert client.get(f"/api/jobs/{job_id}").json()["error"]["code"] == "conflict"
    assert history(client)["total_count"] == 0
