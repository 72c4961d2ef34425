"""Files that are brought to a conversation, and a provider that is asked about them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage import blobs, conversations, files, jobs, questions
from storage.database import transaction
from storage.file_types import recognise
from storage.tables import LOCAL_OWNER
from tasks.base import run_job
from tasks.leases import Leases
from tests import documents, factories
from tests.standins import openai_server
from tests.standins.openai_server import OpenAIServer
from tests.standins.server import StandIn
from tests.tasks.test_chats import answered
from workers import registry

PNG, REPORT = documents.png(), documents.pdf("Herons were seen")


def bring(conversation_id: str, content: bytes, name: str, *, read: bool = True, **found: Any) -> str:
    """An uploaded file; `found`: what its job came to."""
    digest, size = blobs.store(io.BytesIO(content), 10**8)
    kind = recognise(io.BytesIO(content), name, None)
    with transaction() as session:
        row = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        file_id = files.add(session, row, filename=name, file_size=size, file_type=kind, digest=digest).id
    job = factories.job(
        Kind.EXTRACT, input={"file_id": file_id}, serial_key=files.serial_key(file_id), conversation_id=conversation_id
    )
    if found:
        with transaction() as session:
            files.write(session, file_id, **found)
    if read:
        run_job(job)
    return file_id


def ask(conversation_id: str, text: str = "What is this?", **given: Any) -> str:
    given = {"use_rag": False, "max_tokens": 50, **given}
    with transaction() as session:
        _, job = questions.ask(session, LOCAL_OWNER, text, conversation_id, given)
        return jobs.add(session, job).id


def answer(conversation_id: str, text: str = "What is this?", **given: Any) -> str:
    job_id = ask(conversation_id, text, **given)
    run_job(job_id)
    answered(job_id)
    return job_id


@pytest.fixture
def conversation_id() -> str:
    return factories.conversation()


@pytest.fixture
def configured(settings: pytest.MonkeyPatch, held: Leases) -> Callable[..., None]:
    def configure(**values: str) -> None:
        for name, value in values.items():
            settings.setenv(name.upper(), value)
        settings.setattr(registry, "_remotes", None)
        reset_settings()

    return configure


@pytest.fixture
def openai(configured: Callable[..., None]) -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        configured(openai_api_key=openai_server.KEY, openai_base_url=server.url)
        yield server


def content(server: StandIn, place: int = -1) -> Any:
    return server.asked[place].body["messages"][-1]["content"]


def shown(content: Any) -> list[str]:
    return [part["type"] for part in content] if isinstance(content, list) else []
