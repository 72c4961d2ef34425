"""Deleted messages leave the models' caches as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage import messages
from storage.database import transaction
from storage.presence import WorkerPresence
from tasks import leases
from tasks.base import run_job
from tasks.leases import Leases
from tests import factories
from tests.gguf_model import make_tiny_model
from tests.servers import wait_until
from workers import registry
from workers.engine.engine import Engine


@pytest.fixture
def working(
    sqlite: str, clean_redis: str, settings: pytest.MonkeyPatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Leases]:
    """A generate worker with a model, a slot and a cache on disk."""
    given = {"HEARTBEAT_S": "0.02", "MODEL_PATH": str(make_tiny_model(tmp_path / "tiny.gguf", endless=True))}
    for name, value in {**given, "MODEL_SLOTS": "1", "MODEL_N_CTX": "1024"}.items():
        settings.setenv(name, value)
    reset_settings()
    monkeypatch.setattr(registry, "_residents", None)
    mine = Leases(WorkerPresence(name="generate", queues=["chat"], slots=1))
    monkeypatch.setattr(leases, "_leases", mine)
    mine.start()
    yield mine
    mine.stop()
    registry.close()
    for thread in mine._threads:
        thread.join(5)
        assert not thread.is_alive()


def chat(text: str) -> str:
    """Asks in a conversation of its own; the conversation's id."""
    conversation_id = factories.conversation()
    question = factories.question(conversation_id, text)
    given = {"message_id": question.id, "use_rag": False, "max_tokens": 20}
    job_id = factories.job(Kind.CHAT, input=given, conversation_id=conversation_id)
    run_job(job_id)
    assert factories.load(job_id).status == "succeeded", factories.load(job_id).error
    return conversation_id


def engine() -> Engine:
    with registry.language_model(None) as model:
        found: Engine = model.engine  # type: ignore[attr-defined]
        return found


def test_a_cleared_history_is_in_no_cache(working: Leases, tmp_path: Path) -> None:
    first = chat("the secret of the house " * 30)
    chat("the people and the water " * 30)
    folder = tmp_path / "data" / "model-cache"
    wait_until(lambda: list(folder.rglob("*.state")), what="a cache on disk")
    slots = engine()._scheduler.prefixes.slots
    assert any(slot.tokens for slot in slots)
    with transaction() as session:
        messages.clear(session, first)
    assert list(folder.rglob("*.state")) == []
    wait_until(lambda: not any(slot.tokens for slot in slots), what="the worker to forget")
    chat("it goes on")
