"""Without a model a draft is quotations; a model is told memories, and a service that fails takes nothing from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.settings import reset_settings
from tasks.base import bury_or_put_back, run_job
from tests import factories
from tests.standins.mem0_server import Mem0Server, mem0_server
from tests.tasks.drafting import ask, events, model, result_of, said, talk, told, versions
from tests.tasks.scripted_drafts import Scripted
from tests.tasks.test_chats import Killed, kill

__all__ = ["model"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def test_without_a_model_it_is_quoted_and_says_so(clean_redis: str) -> None:
    job_id = ask(talk())
    run_job(job_id)
    (version,) = versions()
    assert (version.title, version.model) == ("Imported", "extractive")
    assert version.description.startswith("No language model is loaded")
    assert "> User: Message number 0 says" in version.description
    assert said(events(clean_redis, job_id)) == version.description


@pytest.fixture
def service(settings: pytest.MonkeyPatch) -> Iterator[Mem0Server]:
    with mem0_server() as running:
        settings.setenv("MEM0_API_URL", running.url)
        settings.setenv("MEM0_USER_ID", "jo")
        reset_settings()
        yield running


def test_memories_are_asked_for_and_told_to_the_model(model: Scripted, service: Mem0Server, clean_redis: str) -> None:
    service.memories = [("Likes roses", 0.9), ("Has a cat", 0.37), ("Lives in Riga", 0.38)]
    job_id = ask(talk())
    run_job(job_id)
    result_of(job_id)
    (asked,) = service.asked
    assert (asked["user_id"], asked["metadata"]) == ("jo", {"type": "summary"})
    assert "roses" in asked["query"]
    prompt = model.requests[0].messages[1].content
    assert "- Likes roses\n- Lives in Riga" in prompt
    assert "cat" not in prompt
    assert told(events(clean_redis, job_id)) == ["extracting_chat_keywords", "retrieving_memories", "generating"]


@pytest.mark.parametrize("status", [500, 401, 200])
def test_a_memory_service_that_fails_takes_nothing_from_the_draft(
    model: Scripted, service: Mem0Server, clean_redis: str, status: int
) -> None:
    service.fails_with = (status, b"<html>")
    job_id = ask(talk())
    run_job(job_id)
    result_of(job_id)
    assert "memories_unavailable" in told(events(clean_redis, job_id))


def test_memories_are_the_same_for_every_attempt(model: Scripted, service: Mem0Server) -> None:
    service.memories = [("Likes roses", 0.9)]
    job_id = ask(talk())
    model.before = lambda number, place: kill() if number == 1 and place > 60 else None
    with pytest.raises(Killed):
        run_job(job_id)
    service.memories = []
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(service.asked) == 1
    assert model.requests[0].messages == model.requests[1].messages
