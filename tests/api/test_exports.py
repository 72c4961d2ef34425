"""What is taken away is all there is, and brings it all back."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import orjson
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from config.queues import Kind
from storage import blobs, conversations, messages
from storage.database import reading, transaction
from storage.ids import new_id
from storage.tables import LOCAL_OWNER, Conversation, Message
from tests import exports, factories
from tests.api.helpers import work

Client = TestClient[Litestar]
# Rows of another instance differ in what it gives them itself.
_OWN = {"id", "owner_id", "imported_at", "content_hash", "content_version", "indexed_version", "has_attachments"}
_OWN_OF_MESSAGES = {"id", "conversation_id", "parent_id", "position", "job_id"}


def brought_in(data: bytes) -> Any:
    digest, _ = blobs.store(io.BytesIO(data), 10**9)
    job_id = factories.job(Kind.IMPORT, input={"blob": digest, "filename": "x.jsonl"})
    work(job_id)
    return factories.load(job_id).result


def rows() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    with reading() as session:
        found, _ = conversations.page(session, LOCAL_OWNER, limit=100, offset=0)
        return sorted(
            ((_without(row, _OWN), _messages(messages.tree(session, row.id))) for row in found),
            key=lambda pair: (pair[0]["source"], pair[0]["native_id"]),
        )


def _messages(tree: list[Message]) -> list[dict[str, Any]]:
    native = {message.id: message.native_id for message in tree}
    return [_without(message, _OWN_OF_MESSAGES) | {"parent": native.get(message.parent_id or "")} for message in tree]


def _without(row: Conversation | Message, names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.model_dump().items() if name not in names}


@pytest.fixture
def filled(client: Client) -> Client:
    """An imported tree with branches and tools, and a chat of our own with its costs and sources."""
    mapping = exports.chatgpt_conversation("c1", "Roses & <b>thorns</b>")
    brought_in(exports.chatgpt_json([mapping, exports.chatgpt_conversation("c2", None)]))
    conversation_id = factories.conversation(title="Mine")
    question = factories.question(conversation_id, "What is it?")
    with transaction() as session:
        source = [{"conversation_id": "x", "title": "T", "message_id": None, "text": "t", "score": 0.5}]
        costs = {"prompt_tokens": 7, "completion_tokens": 3, "response_ms": 12, "model": "m", "sources": source}
        messages.add_answer(session, question, "It is that.\n\n```py\nx\n```", message_id=new_id(), **costs)
        row = conversations.get(session, conversation_id, LOCAL_OWNER)
        conversations.rename(session, row, "Renamed “title”")
        row.is_locked = True
    return client


def test_lines_bring_everything_back(filled: Client) -> None:
    before = rows()
    answer = filled.get("/api/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert len(answer.content.splitlines()) == len(before) == 3
    with transaction() as session:
        for row in factories.all_conversations():
            conversations.remove(session, row.id, LOCAL_OWNER)
    assert brought_in(answer.content)["conversations"] == {
        "created": 3,
        "updated": 0,
        "unchanged": 0,
        "skipped": 0,
        "failed": 0,
    }
    assert rows() == before
    assert brought_in(answer.content)["conversations"]["unchanged"] == 3
    assert filled.get("/api/export").content.count(b"backchannel.conversation") == 3


def test_brought_back_where_it_still_is_nothing_changes(filled: Client) -> None:
    before = rows()
    brought_in(filled.get("/api/export").content)
    assert rows() == before


def test_lines_can_be_cut_and_joined(filled: Client) -> None:
    first, *_, last = filled.get("/api/export").content.splitlines()
    assert brought_in(last + b"\n\n" + first)["conversations"]["failed"] == 0


@pytest.mark.parametrize("change", [{"version": 2}, {"conversation": {"title": "No id"}}, {"conversation": None}])
def test_lines_that_cannot_be_read_are_told(filled: Client, change: dict[str, Any]) -> None:
    first, *rest = filled.get("/api/export").content.splitlines()
    broken = orjson.dumps(orjson.loads(first) | change)
    assert brought_in(b"\n".join([broken, *rest]))["conversations"]["failed"] == 1


def test_markdown_is_for_people(filled: Client) -> None:
    answer = filled.get("/api/export", params={"format": "markdown"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        texts = {name: archive.read(name).decode() for name in names}
    assert len(set(names)) == 3
    assert all(".." not in name and not name.startswith("/") and name.count("/") == 1 for name in names)
    (mine,) = (text for name, text in texts.items() if name.startswith("backchannel/"))
    assert "## User" in mine
    assert "```py" in mine


def test_filters_and_strangers(filled: Client) -> None:
    assert filled.get("/api/export", params={"kind": "own"}).content.count(b"\n") == 1
    assert filled.get("/api/export", params={"source": "claude"}).content == b""
    assert filled.get("/api/export", params={"format": "pdf"}).status_code in (400, 422)
    other = factories.conversation(factories.owner())
    assert other.encode() not in filled.get("/api/export").content
