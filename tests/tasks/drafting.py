"""Conversations that become drafts by a model that says what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import redis
from sqlmodel import col, select

from config.queues import Kind
from storage import conversations, drafts
from storage.database import reading, transaction
from storage.events import EventLog
from storage.project_tables import ProjectDraftVersion
from storage.tables import LOCAL_OWNER
from tasks.base import run_job
from tests import factories
from tests.tasks.scripted_drafts import Scripted, scripted

TITLE, DESCRIPTION = 'A "rose" garden', "# Goal\n\nPlant 40 roses – 🌹 –\tby May.\n\n- dig\n- water"
WRITTEN = orjson.dumps({"title": TITLE, "description": DESCRIPTION}).decode()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted(monkeypatch, Scripted()) as model:
        # Escapes may be spelled in two ways; the resumed text is ours, so the model goes on in our spelling.
        model.answer = lambda request: WRITTEN if not request.resume_text else _spelled_ours()
        yield model


def _spelled_ours() -> str:
    from workers.llm.json_strings import spelled

    return f'{{"title": "{spelled(TITLE)}", "description": "{spelled(DESCRIPTION)}"}}'


def talk(count: int = 6) -> str:
    said = [f"Message number {place} says some more words about roses." for place in range(count)]
    with transaction() as session:
        return conversations.upsert(session, LOCAL_OWNER, *factories.imported(turns=said)).conversation_id


def ask(conversation_id: str, **given: Any) -> str:
    wanted = {"conversation_id": conversation_id, "model": None, "accept_summarization": False, **given}
    key = drafts.serial_key(conversation_id)
    return factories.job(Kind.DRAFT, input=wanted, conversation_id=conversation_id, serial_key=key)


def drafted(conversation_id: str, **given: Any) -> dict[str, Any]:
    job_id = ask(conversation_id, **given)
    run_job(job_id)
    return result_of(job_id)


def result_of(job_id: str) -> dict[str, Any]:
    job = factories.load(job_id)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job.result


def failed(job_id: str) -> dict[str, Any]:
    job = factories.load(job_id)
    assert job.status == "failed"
    return job.error or {}


def versions() -> list[ProjectDraftVersion]:
    with reading() as session:
        return list(session.exec(select(ProjectDraftVersion).order_by(col(ProjectDraftVersion.version_number))))


def events(url: str, job_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(event.json) for event in EventLog(redis.Redis.from_url(url)).read(job_id)]


def said(found: list[dict[str, Any]]) -> str:
    return "".join(event["content"] for event in found if event["type"] == "content")


def told(found: list[dict[str, Any]]) -> list[str]:
    return [event["status"] for event in found if event["type"] == "status"]
