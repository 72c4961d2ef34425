"""A conversation with a draft, and a talk about it with a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config.queues import Kind
from storage import conversations, drafts, messages
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from tests import factories
from tests.tasks.drafting import result_of, talk
from tests.tasks.scripted_drafts import Scripted, scripted
from workers.ports import ToolCall

Json = dict[str, Any]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted(monkeypatch, Scripted()) as model:
        yield model


@pytest.fixture
def drafted() -> str:
    """A conversation with a draft."""
    conversation = talk(4)
    with transaction() as session:
        found = conversations.get(session, conversation, LOCAL_OWNER, lock=True)
        drafts.add_version(session, found, "Roses", "Plant them.", by=LOCAL_OWNER)
    return conversation


def ask(conversation_id: str, text: str = "Make it shorter.", **given: Any) -> str:
    with transaction() as session:
        conversation = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        question = messages.add_question(session, drafts.talk_of(session, conversation, LOCAL_OWNER), text)
    wanted = {"conversation_id": conversation_id, "message_id": question.id, "model": None, **given}
    key = drafts.serial_key(conversation_id)
    return factories.job(Kind.DRAFT_CHAT, input=wanted, conversation_id=conversation_id, serial_key=key)


def chat_of(conversation_id: str) -> str:
    with reading() as session:
        draft = drafts.find(session, conversation_id)
    assert draft is not None
    assert draft.chat_id is not None
    return draft.chat_id


def update(title: str = "Fewer roses", description: str = "Plant ten.", call_id: str = "c1") -> ToolCall:
    return ToolCall(call_id, "update_project_draft", {"title": title, "description": description})


def create(title: str = "Roses", call_id: str = "c2") -> ToolCall:
    return ToolCall(call_id, "create_linear_project", {"title": title, "description": "Plant them."})


def calls_of(job_id: str) -> list[Json]:
    calls: list[Json] = result_of(job_id)["tool_calls"]
    return calls
