"""A conversation to be summarised, by a scripted model, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
import redis

from config.queues import Kind
from storage import conversations, summaries
from storage.database import reading, transaction
from storage.events import EventLog
from storage.tables import LOCAL_OWNER, Summary
from tasks.base import run_job
from tests import factories
from tests.workers.summaries.scripted import Scripted
from workers import registry
from workers.ports import LanguageModel


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted()

    @contextmanager
    def language_model(name: str | None, on_wait: object = None) -> Iterator[LanguageModel]:
        assert name in (None, "scripted/scripted", "scripted")
        with scripted.use() as model:
            yield model

    monkeypatch.setattr(registry, "language_model", language_model)
    return scripted


def talk(count: int = 600) -> str:
    """A conversation of so many messages of ten words."""
    said = [f"Message number {place} says some more words than that." for place in range(count)]
    with transaction() as session:
        return conversations.upsert(session, LOCAL_OWNER, *factories.imported(turns=said)).conversation_id


def say(conversation_id: str, count: int = 10) -> None:
    for place in range(count):
        factories.question(conversation_id, f"New message number {place} says something else again.")
    with transaction() as session:
        conversations.touch(session, conversation_id)


def ask(conversation_id: str, **given: Any) -> str:
    wanted = {"conversation_id": conversation_id, "model": None, "replace_edited": False, **given}
    return factories.job(
        Kind.SUMMARIZE, input=wanted, conversation_id=conversation_id, serial_key=f"summarize:{conversation_id}"
    )


def summarised(conversation_id: str, **given: Any) -> dict[str, Any]:
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
    assert (job.status, job.error is None) == ("failed", False)
    return job.error or {}


def stored(conversation_id: str) -> Summary:
    with reading() as session:
        row = summaries.find(session, conversation_id)
    assert row is not None
    return row


def parts(conversation_id: str) -> dict[str, str]:
    with reading() as session:
        return summaries.parts(session, conversation_id)


def edit(conversation_id: str, text: str) -> None:
    with transaction() as session:
        row = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        summaries.edit(session, row, text)


def events(url: str, job_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(event.json) for event in EventLog(redis.Redis.from_url(url)).read(job_id)]


def texts(found: list[dict[str, Any]], kind: str, key: str) -> list[str]:
    return [event[key] for event in found if event["type"] == kind]
