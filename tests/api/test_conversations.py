"""/api/conversations: listed, read, renamed, locked, removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import update
from sqlmodel import col, select

from config.queues import Kind
from storage import conversations, model_cache, summaries
from storage.database import reading, transaction
from storage.ids import new_id
from storage.project_tables import FileAttachment, ProjectDraft, ProjectDraftVersion
from storage.tables import LOCAL_OWNER, Chunk, Conversation, Message, Summary, SummaryPart
from tests import factories
from tests.api.helpers import Json, fields, problem

Client = TestClient[Litestar]
PATH = "/api/conversations"


def change(conversation_id: str, **values: Any) -> None:
    with transaction() as session:
        session.execute(update(Conversation).where(col(Conversation.id) == conversation_id).values(**values))


def listed(client: Client, **params: Any) -> Json:
    response = client.get(PATH, params=params)
    assert response.status_code == 200, response.text
    return response.json()


def titles(client: Client, **params: Any) -> list[str]:
    return [row["title"] for row in listed(client, **params)["conversations"]]


@pytest.fixture
def three(client: Client) -> dict[str, str]:
    """Title → id, of one imported and archived, one with a file, one locked; a day between their changes."""
    ids = {title: factories.conversation(title=title) for title in ("banana", "Apple", "cherry")}
    for days, (title, values) in enumerate({
        "banana": {"source": "chatgpt", "is_archived": True}, "Apple": {"has_attachments": True},
        "cherry": {"is_locked": True},
    }.items()):  # fmt: skip
        moment = datetime(2025, 1, 1 + days, tzinfo=UTC)
        change(ids[title], updated_at=moment, created_at=moment - timedelta(days=10 * days), **values)
    return ids


# --- listing


def test_the_latest_come_first(client: Client, three: dict[str, str]) -> None:
    body = listed(client)
    assert {name: body[name] for name in ("total", "limit", "offset")} == {"total": 3, "limit": 50, "offset": 0}
    assert [row["title"] for row in body["conversations"]] == ["cherry", "Apple", "banana"]
    assert [row["has_attachments"] for row in body["conversations"]] == [False, True, False]


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"source": "chatgpt"}, ["banana"]),
        ({"source": "nowhere"}, []),
        ({"status": "archived"}, ["banana"]),
        ({"status": "locked"}, ["cherry"]),
        ({"status": "active"}, ["Apple"]),
        ({"kind": "imported"}, ["banana"]),
        ({"kind": "own"}, ["cherry", "Apple"]),
        ({"has_attachment": True}, ["Apple"]),
        ({"has_attachment": False}, ["cherry", "banana"]),
        ({"since": "2025-01-02T00:00:00Z"}, ["cherry", "Apple"]),
        ({"since": "2025-01-02T00:00:00", "until": "2025-01-03T00:00:00"}, ["Apple"]),
        ({"until": "2025-01-02T00:00:00+02:00"}, ["banana"]),
        ({"sort_dir": "asc"}, ["banana", "Apple", "cherry"]),
        ({"sort_by": "created_at"}, ["banana", "Apple", "cherry"]),
        ({"sort_by": "title", "sort_dir": "asc"}, ["Apple", "banana", "cherry"]),
        ({"sort_by": "title", "limit": 2}, ["cherry", "banana"]),
        ({"sort_by": "title", "limit": 2, "offset": 2}, ["Apple"]),
    ],
)
def test_narrowed_and_sorted(client: Client, three: dict[str, str], params: Json, found: list[str]) -> None:
    assert titles(client, **params) == found


def test_the_total_is_of_what_is_left(client: Client, three: dict[str, str]) -> None:
    assert listed(client, kind="own", limit=1)["total"] == 2


@pytest.mark.parametrize(
    "params",
    [
        {"status": "gone"}, {"kind": "x"}, {"since": "yesterday"}, {"sort_by": "id"}, {"sort_dir": "up"},
        {"has_attachment": "perhaps"}, {"limit": 0}, {"offset": -1}, {"offset": 2**60},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for(client: Client, params: Json) -> None:
    problem(client.get(PATH, params=params), 422)


# --- changing


def test_renaming(client: Client) -> None:
    conversation_id = factories.conversation()
    body = client.patch(f"{PATH}/{conversation_id}", json={"title": "  My \n tomatoes "}).json()
    assert body["title"] == "My tomatoes"
    assert client.get(f"{PATH}/{conversation_id}").json()["title"] == "My tomatoes"
    assert factories.all_conversations()[0].title_is_custom is True


def test_a_locked_conversation_takes_nothing_until_it_is_opened(client: Client) -> None:
    conversation_id = factories.conversation()
    path, say = f"{PATH}/{conversation_id}", {"message": "Hello", "session_id": conversation_id}
    later = {"prefer": "respond-async"}
    assert client.patch(path, json={"is_locked": True}).json()["is_locked"] is True
    problem(client.post("/api/chat", json=say), 409)
    problem(client.post(f"{path}/files", files={"file": ("a.txt", b"text")}), 409)
    assert client.patch(path, json={"title": "Still mine"}).status_code == 200
    assert client.patch(path, json={"is_locked": False}).json()["is_locked"] is False
    assert client.post("/api/chat", json=say, headers=later).status_code == 202


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, None), ({"title": None}, None), ({"title": ""}, {"title"}), ({"title": " \n"}, {"title"}),
        ({"title": 5}, {"title"}), ({"title": "x" * 501}, {"title"}), ({"is_locked": "maybe"}, {"is_locked"}),
        ({"title": "a", "owner_id": "b"}, {"owner_id"}),
    ],
)  # fmt: skip
def test_what_is_no_change(client: Client, body: Json, wrong: set[str] | None) -> None:
    told = problem(client.patch(f"{PATH}/{factories.conversation()}", json=body), 422)
    assert wrong is None or fields(told) == wrong


def test_others_are_not_there(client: Client) -> None:
    theirs = factories.conversation(factories.owner(), title="Theirs")
    for conversation_id in (theirs, new_id(), "x"):
        problem(client.get(f"{PATH}/{conversation_id}"), 404)
        problem(client.patch(f"{PATH}/{conversation_id}", json={"title": "Mine"}), 404)
        problem(client.delete(f"{PATH}/{conversation_id}"), 404)
    with reading() as session:
        assert session.exec(select(Conversation.title)).all() == ["Theirs"]


# --- removing


def full(conversation_id: str) -> None:
    """Everything that can hang on a conversation."""
    question = factories.question(conversation_id)
    with transaction() as session:
        summaries.write(
            session, conversation_id, replace_edited=False, text="About it", model="m", content_version=1, place=None
        )
        summaries.keep_parts(session, conversation_id, {"digest": "part"})
        session.add(
            Chunk(
                id=f"chunk of {conversation_id}"[:64],
                conversation_id=conversation_id,
                message_id=question.id,
                start=0,
                end=3,
                text="Why",
                embedding_model="m#1",
            )
        )
        session.add(
            FileAttachment(
                owner_id=LOCAL_OWNER,
                conversation_id=conversation_id,
                filename="a",
                file_size=1,
                file_type="text/plain",
                digest="0" * 64,
            )
        )


def test_everything_goes(client: Client) -> None:
    kept, conversation_id = factories.conversation(title="kept"), factories.conversation()
    for one in (kept, conversation_id):
        full(one)
    talk = factories.conversation(title="talk about the draft")
    full(talk)
    with transaction() as session:
        draft = ProjectDraft(conversation_id=conversation_id, chat_id=talk, created_by_user_id=LOCAL_OWNER)
        session.add(draft)
        session.flush()
        session.add(ProjectDraftVersion(project_draft_id=draft.id, version_number=1, title="a", description="b"))
    forgotten = model_cache.forgotten_at()
    response = client.delete(f"{PATH}/{conversation_id}")
    assert (response.status_code, response.content) == (204, b"")
    with reading() as session:
        for table in (Conversation, Message, Chunk, FileAttachment, Summary, SummaryPart):
            assert len(session.exec(select(table)).all()) == 1, table
        for table in (ProjectDraft, ProjectDraftVersion):
            assert session.exec(select(table)).all() == [], table
    assert model_cache.forgotten_at() > forgotten
    assert titles(client) == ["kept"]
    problem(client.delete(f"{PATH}/{conversation_id}"), 404)
    problem(client.get(f"{PATH}/{conversation_id}"), 404)


def test_its_jobs_end_and_what_they_said_is_forgotten(client: Client) -> None:
    conversation_id, other = factories.conversation(), factories.conversation()
    waiting = factories.job(Kind.CHAT, conversation_id=conversation_id, serial_key="chat:a")
    behind = factories.job(Kind.CHAT, conversation_id=conversation_id, serial_key="chat:a")
    running = factories.running(Kind.SUMMARIZE, conversation_id=conversation_id).id
    ended = factories.running(Kind.CHAT, conversation_id=conversation_id).id
    factories.finish(ended, result={"content": "what was said"})
    elsewhere = factories.job(Kind.CHAT, conversation_id=other)
    client.delete(f"{PATH}/{conversation_id}")
    assert factories.statuses([waiting, behind, running, elsewhere]) == ["cancelled", "cancelled", "running", "queued"]
    assert factories.load(running).cancel_requested is True
    problem(client.get(f"/api/jobs/{ended}"), 404)
    events = client.get(f"/api/jobs/{waiting}/events").text
    assert '"type":"cancelled"' in events


def test_the_current_session_may_go(client: Client) -> None:
    session_id = client.post("/api/sessions").json()["session_id"]
    assert client.delete(f"{PATH}/{session_id}").status_code == 204
    assert client.get("/api/chat/history").json()["messages"] == []
    later = client.post("/api/chat", json={"message": "Hello"}, headers={"prefer": "respond-async"})
    assert later.status_code == 202
    assert later.json()["conversation_id"] not in (None, session_id)


def test_removed_and_asked_at_once(client: Client) -> None:
    """Whichever comes first: no message without its conversation, no failure of ours."""
    conversation_id = factories.conversation()
    ask = {"message": "Hello", "session_id": conversation_id}
    later = {"prefer": "respond-async"}
    gone, asked = factories.at_once(
        lambda: client.delete(f"{PATH}/{conversation_id}").status_code,
        lambda: client.post("/api/chat", json=ask, headers=later).status_code,
    )
    assert gone == 204
    assert asked in (202, 404)
    assert factories.all_messages(conversation_id) == []


def test_what_is_gone_can_be_imported_again(client: Client) -> None:
    with transaction() as session:
        first = conversations.upsert(session, LOCAL_OWNER, *factories.imported()).conversation_id
    client.delete(f"{PATH}/{first}")
    with transaction() as session:
        again = conversations.upsert(session, LOCAL_OWNER, *factories.imported())
    assert again.status == "created"
