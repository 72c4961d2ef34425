"""Summaries without a model, and by an external service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.settings import reset_settings
from tasks.base import run_job
from tasks.leases import Leases
from tests.standins.metacognition_server import MetacognitionServer, metacognition_server
from tests.tasks.summarising import (
    ask,
    model,
    parts,
    result_of,
    say,
    stored,
    summarised,
    talk,
)
from tests.workers.summaries.scripted import Scripted

__all__ = ["model"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def test_without_any_model_it_is_quoted_and_says_so() -> None:
    conversation = talk(6)
    result = summarised(conversation)
    assert result["model"] == stored(conversation).model == "extractive"
    assert result["summary"].startswith("No language model is loaded")
    assert "> User: Message number 0 says" in result["summary"]


def test_a_quoted_summary_leaves_the_parts_of_a_written_one(model: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = talk()
    summarised(conversation)
    written = parts(conversation)
    monkeypatch.undo()
    assert summarised_by_none(conversation) == "extractive"
    assert parts(conversation) == written


def summarised_by_none(conversation_id: str) -> str:
    return str(summarised(conversation_id)["model"])


@pytest.fixture
def service(settings: pytest.MonkeyPatch) -> Iterator[MetacognitionServer]:
    with metacognition_server() as running:
        settings.setenv("METACOGNITION_API_URL", running.url)
        settings.setenv("METACOGNITION_AUTH_TOKEN", "secret-token")
        settings.setenv("METACOGNITION_POLL_S", "0.01")
        reset_settings()
        yield running


def test_an_external_service_summarises_what_no_model_is_named_for(service: MetacognitionServer) -> None:
    conversation = talk(10)
    result = summarised(conversation)
    assert (result["summary"], result["model"]) == ("About 10 messages.", "metacognition")
    say(conversation, 3)
    assert summarised(conversation)["summary"] == "About 13 messages."
    assert [(call["summary_id"], call["index_of_first_new_message"]) for call in service.calls] == [
        (None, 0),
        ("summary-1", 10),
    ]
    assert summarised(conversation, model="extractive")["model"] == "extractive"
    assert len(service.calls) == 2


def test_a_later_attempt_asks_for_what_an_earlier_one_had_sent(
    service: MetacognitionServer, model: Scripted, held: Leases
) -> None:
    conversation = talk(10)
    job_id = ask(conversation)
    service.reads = 1
    service.before = lambda: held.stopping.set() if len(service.calls) == 3 else None
    run_job(job_id)
    held.stopping.clear()
    service.before, service.reads = lambda: None, 100
    run_job(job_id)
    assert result_of(job_id)["summary"] == "About 10 messages."
    assert [len(call["new_messages"]) for call in service.calls if call["new_messages"]] == [10]
    assert list(service.conversations) == ["summary-1"]
