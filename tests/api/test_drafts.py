"""Drafts over HTTP: written by a job, edited by people, compared, restored, and talked about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import orjson
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from config.queues import Kind
from config.settings import reset_settings
from storage import conversations, drafts, files
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from tests import factories
from tests.api.conftest import Listening
from tests.api.helpers import fail, fields, newest_job, problem, work
from tests.standins.openai_server import KEY, OpenAIServer
from tests.standins.openai_streams import Call

Client = TestClient[Litestar]
Json = dict[str, Any]
Meanwhile = Callable[..., Future[Any]]
SECOND = "One.\nTwo.\nThree."


@pytest.fixture
def conversation(sqlite: str) -> str:
    said = [f"Message number {place} says some more words about roses." for place in range(4)]
    with transaction() as session:
        return conversations.upsert(session, LOCAL_OWNER, *factories.imported(turns=said)).conversation_id


@pytest.fixture
def path(conversation: str) -> str:
    return f"/api/conversations/{conversation}/project-draft"


def lock(conversation_id: str) -> None:
    with transaction() as session:
        row = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        row.is_locked = True
        session.add(row)


def edit(client: Client, path: str, **given: str) -> Json:
    answer = client.patch(path, json=given)
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


# --- written


def test_a_draft_is_written_by_a_job(client: Client, path: str, conversation: str) -> None:
    problem(client.get(path), 404)
    answer = client.post(path)
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], job["conversation_id"]) == ("draft", conversation)
    work(job["id"])
    draft = client.get(path).json()
    assert (draft["conversation_id"], draft["title"]) == (conversation, "Imported")
    assert draft["description"].startswith("No language model is loaded")
    assert draft["active_version"]["model"] == "extractive"
    assert draft["active_version"]["created_by_user_id"] == LOCAL_OWNER
    result = client.get(f"/api/jobs/{job['id']}").json()["result"]
    assert result["project_draft"] == draft


def test_who_waits_gets_the_draft(live: Listening, path: str, meanwhile: Meanwhile) -> None:
    waiting = meanwhile(live.client.post, path, headers={"Prefer": "wait=20"})
    work(newest_job("draft"))
    answer = waiting.result(20)
    assert answer.status_code == 200
    assert answer.json().keys() == live.client.get(path).json().keys() | {"job_id"}


def test_the_model_is_named_in_either_way(client: Client, path: str) -> None:
    for body, model in (
        ({"model": "x"}, "x"),
        ({"llm_model": "gpt-4o", "llm_provider": "openai"}, "openai/gpt-4o"),
        ({"llm_model": "openai/gpt-4o", "llm_provider": "openai"}, "openai/gpt-4o"),
        ({"llm_model": "gpt-4o"}, "gpt-4o"),
        ({}, None),
    ):
        job_id = client.post(path, json=body).json()["id"]
        assert factories.load(job_id).input["model"] == model
    for body in ({"model": "x", "llm_model": "y"}, {"llm_provider": "openai"}, {"more": 1}, {"model": 7}):
        problem(client.post(path, json=body), 422)


def test_it_is_a_job_like_others(client: Client, conversation: str) -> None:
    body = {"kind": "draft", "input": {"conversation_id": conversation, "accept_summarization": True}}
    job = client.post("/api/jobs", json=body).json()
    assert factories.load(job["id"]).input == {
        "conversation_id": conversation,
        "model": None,
        "accept_summarization": True,
    }
    assert fields(problem(client.post("/api/jobs", json={"kind": "draft", "input": {}}), 422)) == {
        "input.conversation_id"
    }


# --- edited


def test_every_edit_is_a_version_of_its_own(client: Client, path: str) -> None:
    first = edit(client, path, title="Roses", description="One.\nTwo.")
    second = edit(client, path, description=SECOND)
    assert (second["title"], second["description"]) == ("Roses", SECOND)
    assert second["id"] == first["id"]
    version = second["active_version"]
    assert (version["version_number"], version["is_manual_edit"], version["model"]) == (2, True, None)
    assert edit(client, path, title="Roses") == second, "an edit that changes nothing is none"
    listed = client.get(f"{path}/versions").json()
    assert (listed["total"], [one["version_number"] for one in listed["versions"]]) == (2, [2, 1])
    assert [one["is_active"] for one in listed["versions"]] == [True, False]
    assert client.get(f"{path}/versions?limit=1&offset=1").json()["versions"][0]["version_number"] == 1


def test_edits_at_the_same_moment_are_all_kept(client: Client, path: str) -> None:
    edit(client, path, title="Roses")
    factories.at_once(*[lambda at=at: client.patch(path, json={"description": f"Text {at}"}) for at in range(5)])
    numbers = [one["version_number"] for one in client.get(f"{path}/versions").json()["versions"]]
    assert numbers == [6, 5, 4, 3, 2, 1]


def test_a_version_is_restored(client: Client, path: str) -> None:
    first = edit(client, path, title="Roses", description="One.")
    edit(client, path, description="Two.")
    answer = client.post(f"{path}/versions/{first['active_version_id']}/activate")
    assert answer.status_code == 200
    assert (answer.json()["description"], client.get(path).json()["description"]) == ("One.", "One.")
    assert edit(client, path, description="Three.")["active_version"]["version_number"] == 3


def test_versions_are_compared(client: Client, path: str) -> None:
    a = edit(client, path, title="Roses", description="One.\nTwo.")["active_version_id"]
    b = edit(client, path, title="Tulips", description="One.\nThree.")["active_version_id"]
    answer = client.get(f"{path}/versions/{a}/diff/{b}").json()
    assert answer["diff"].splitlines() == [
        "--- version 1",
        "+++ version 2",
        "@@ -1,4 +1,4 @@",
        "-# Roses",
        "+# Tulips",
        " ",
        " One.",
        "-Two.",
        "+Three.",
    ]
    assert (answer["from"]["title"], answer["to"]["title"]) == ("Roses", "Tulips")
    assert client.get(f"{path}/versions/{a}/diff/{a}").json()["diff"] == ""


def test_versions_of_another_draft_are_not_found(client: Client, path: str) -> None:
    other = factories.conversation()
    theirs = edit(client, f"/api/conversations/{other}/project-draft", title="x")["active_version_id"]
    mine = edit(client, path, title="y")["active_version_id"]
    problem(client.post(f"{path}/versions/{theirs}/activate"), 404)
    problem(client.get(f"{path}/versions/{mine}/diff/{theirs}"), 404)
    problem(client.get(f"{path}/versions/{theirs}/diff/{mine}"), 404)


@pytest.mark.parametrize(
    "body",
    [{}, {"title": ""}, {"title": " "}, {"title": "x" * 301}, {"description": ""}, {"title": "x", "more": 1},
     {"title": None}, {"title": 7}, {"title": "\ud800"}],
)  # fmt: skip
def test_edits_that_cannot_be_used(client: Client, path: str, body: Json) -> None:
    content = json.dumps(body)  # which can hold half a character
    answer = client.patch(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    problem(client.get(path), 404)


def test_what_is_not_mine_is_not_there(client: Client) -> None:
    theirs = f"/api/conversations/{factories.conversation(factories.owner())}"
    for method, rest in (
        ("GET", "project-draft"),
        ("POST", "project-draft"),
        ("PATCH", "project-draft"),
        ("GET", "project-draft/versions"),
        ("POST", "project-draft/versions/x/activate"),
        ("GET", "project-draft/versions/x/diff/y"),
        ("GET", "project-draft/chat"),
        ("POST", "project-draft/chat/stream"),
        ("GET", "project"),
        ("POST", "project"),
    ):
        body = {"PATCH": {"title": "x"}, "POST": {"message": "x"} if rest.endswith("stream") else {}}.get(method)
        if rest == "project" and method == "POST":
            body = {"title": "x", "description": "y"}
        problem(client.request(method, f"{theirs}/{rest}", json=body), 404)
    assert factories.all_jobs() == []


def test_a_locked_conversation_stays_as_it_is(client: Client, path: str, conversation: str) -> None:
    version = edit(client, path, title="Roses", description="One.")["active_version_id"]
    lock(conversation)
    problem(client.patch(path, json={"title": "x"}), 409)
    problem(client.post(path), 409)
    problem(client.post(f"{path}/versions/{version}/activate"), 409)
    problem(client.post(f"{path}/chat/stream", json={"message": "x"}), 409)
    assert client.get(path).json()["title"] == "Roses"
    assert factories.all_jobs() == []


# --- talked about


def frames(text: str) -> list[Json]:
    return [orjson.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


@pytest.fixture
def openai(settings: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    """Chat Completions, by OpenAI's own SDK and over HTTP."""
    from workers import registry

    with OpenAIServer() as server:
        settings.setenv("OPENAI_API_KEY", KEY)
        settings.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        settings.setenv("PROVIDER_MAX_RETRIES", "0")
        settings.setattr(registry, "_remotes", None)
        reset_settings()
        yield server
        settings.setattr(registry, "_remotes", None)


def test_a_talk_in_which_the_draft_is_changed(
    openai: OpenAIServer, live: Listening, path: str, conversation: str, meanwhile: Meanwhile
) -> None:
    """End to end: the question, OpenAI's call of the tool, our result, its words, every event on the wire."""
    live.client.patch(path, json={"title": "Roses", "description": "One."})
    arguments = '{"title": "Tulips", "description": "Two."}'
    openai.answers(
        openai.says("I will. ", calls=[Call("c1", "update_project_draft", arguments)], finish="tool_calls"),
        openai.says("Done."),
    )
    body = {"message": "Tulips, please.", "llm_model": "gpt-4o", "llm_provider": "openai"}
    waiting = meanwhile(live.client.post, f"{path}/chat/stream", json=body)
    work(newest_job("draft_chat"))
    answer = waiting.result(20)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = frames(answer.text)
    assert [frame["status"] for frame in found if frame["type"] == "status"] == [
        "analyzing_request",
        "generating_response",
        "calling_tool",
        "generating_response",
    ]
    assert "".join(frame["content"] for frame in found if frame["type"] == "content") == "I will. \n\nDone."
    (updated,) = [frame for frame in found if frame["type"] == "project_updated"]
    assert (updated["project_draft"]["title"], found[-1]["type"]) == ("Tulips", "done")
    assert found[-1]["response"]["project_draft"] == updated["project_draft"] == live.client.get(path).json()
    assert openai.problems == []
    sent = openai.bodies()
    assert [tool["function"]["name"] for tool in sent[0]["tools"]] == ["update_project_draft"]
    assert [message["role"] for message in sent[1]["messages"]] == ["system", "user", "assistant", "tool"]
    assert sent[1]["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "The draft was changed."}

    history = live.client.get(f"{path}/chat").json()
    assert (history["total"], history["is_locked"]) == (2, False)
    asked, said = history["messages"]
    assert (asked["role"], asked["content"], asked["sequence_number"]) == ("user", "Tulips, please.", 1)
    assert (said["role"], said["content"], said["sequence_number"]) == ("assistant", "I will. \n\nDone.", 2)
    (round_,) = said["parts"]["tool_rounds"]
    assert round_["calls"][0]["result"] == "The draft was changed."
    talk = live.client.get(f"/api/conversations/{history['chat_id']}").json()
    assert [message["content"] for message in talk["messages"]] == ["Tulips, please.", "I will. \n\nDone."]


def test_a_call_with_broken_arguments_is_refused_back(
    openai: OpenAIServer, live: Listening, path: str, meanwhile: Meanwhile
) -> None:
    openai.answers(
        openai.says(calls=[Call("c1", "update_project_draft", '{"title": "Tul')], finish="tool_calls"),
        openai.says("Sorry."),
    )
    headers = {"Prefer": "wait=20"}
    waiting = meanwhile(
        live.client.post, f"{path}/chat/stream", json={"message": "Go.", "llm_model": "openai/gpt-4o"}, headers=headers
    )
    work(newest_job("draft_chat"))
    body = waiting.result(20).json()
    (call,) = body["tool_calls"]
    assert (call["failed"], body["content"], body["project_draft"]["title"]) == (True, "Sorry.", None)
    assert "title: Field required" in openai.bodies()[1]["messages"][-1]["content"]


def test_what_goes_wrong_is_an_error_event(live: Listening, path: str, meanwhile: Meanwhile) -> None:
    waiting = meanwhile(live.client.post, f"{path}/chat/stream", json={"message": "Hello?"})
    fail(newest_job("draft_chat"), message="It broke.")
    last = frames(waiting.result(20).text)[-1]
    assert (last["type"], last["message"]) == ("error", "It broke.")


def test_who_cannot_wait_gets_the_job(client: Client, path: str, conversation: str) -> None:
    answer = client.post(f"{path}/chat/stream", json={"message": "Hello?"}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert (answer.json()["kind"], answer.json()["conversation_id"]) == ("draft_chat", conversation)
    history = client.get(f"{path}/chat").json()
    assert [message["content"] for message in history["messages"]] == ["Hello?"]
    work(answer.json()["id"])
    assert client.get(f"{path}/chat").json()["total"] == 2
    problem(client.get(path), 404)


def test_one_key_asks_once(client: Client, path: str) -> None:
    headers = {"Prefer": "respond-async", "Idempotency-Key": "k1"}
    first, second = (client.post(f"{path}/chat/stream", json={"message": "Hi"}, headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert client.get(f"{path}/chat").json()["total"] == 1


def test_an_empty_talk(client: Client, path: str) -> None:
    answer = client.get(f"{path}/chat").json()
    assert (answer["messages"], answer["total"], answer["chat_id"]) == ([], 0, None)


def test_files_go_with_a_message(client: Client, path: str, conversation: str) -> None:
    other = factories.conversation()
    with transaction() as session:
        mine, theirs = (
            files.add(
                session, conversations.get(session, place, LOCAL_OWNER, lock=True), filename="a.txt", file_size=1,
                file_type="text/plain", digest="0" * 64,
            ).id
            for place in (conversation, other)
        )  # fmt: skip
    send = {"message": "Read it.", "attachment_ids": [mine, mine]}
    answer = client.post(f"{path}/chat/stream", json=send, headers={"Prefer": "respond-async"})
    assert factories.load(answer.json()["id"]).input["attachment_ids"] == [mine]
    (message,) = client.get(f"{path}/chat").json()["messages"]
    assert message["parts"]["attachments"] == [{"id": mine, "name": "a.txt", "mime_type": "text/plain"}]
    with reading() as session:
        assert files.get(session, mine, LOCAL_OWNER).message_id == message["id"]
    problem(client.post(f"{path}/chat/stream", json=send | {"attachment_ids": [theirs]}), 422)
    problem(client.post(f"{path}/chat/stream", json=send | {"attachment_ids": ["none"]}), 404)
    assert client.get(f"{path}/chat").json()["total"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": ""},
        {"message": " "},
        {"message": "x", "more": 1},
        {"message": "x", "attachment_ids": "y"},
        {"message": "x", "llm_provider": "y"},
    ],
)
def test_what_cannot_be_said(client: Client, path: str, body: Json) -> None:
    problem(client.post(f"{path}/chat/stream", json=body), 422)
    assert factories.all_jobs(Kind.DRAFT_CHAT) == []


def test_a_deleted_conversation_takes_its_talk_along(client: Client, path: str, conversation: str) -> None:
    client.post(f"{path}/chat/stream", json={"message": "Hi"}, headers={"Prefer": "respond-async"})
    with transaction() as session:
        conversations.remove(session, conversation, LOCAL_OWNER)
    assert factories.all_conversations() == []
    with reading() as session:
        assert drafts.find(session, conversation) is None
