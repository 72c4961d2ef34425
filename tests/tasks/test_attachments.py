"""How many files a model is shown and told, where their bytes are, and who waits until they are read."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest

from config.queues import Kind
from storage import blobs, files
from storage.database import transaction
from storage.file_types import PDF
from storage.tables import LOCAL_OWNER
from tasks.base import run_job
from tasks.leases import Leases
from tests import factories
from tests.servers import wait_until
from tests.standins import anthropic_server
from tests.standins.anthropic_server import AnthropicServer
from tests.standins.openai_server import OpenAIServer
from tests.standins.s3 import S3
from tests.tasks.bringing import PNG, answer, ask, bring, configured, content, conversation_id, openai, shown
from tests.tasks.draft_talks import ask as ask_about_draft
from tests.tasks.draft_talks import drafted
from tests.tasks.test_chats import answered, events
from workers import registry
from workers.ports import ChatRequest, Completion, Delta

__all__ = ["configured", "conversation_id", "drafted", "openai"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


# --- how much


def test_the_picture_stays_with_its_question(openai: OpenAIServer, conversation_id: str) -> None:
    bring(conversation_id, PNG, "heron.png")
    openai.answers(openai.says("A heron."), openai.says("Grey."))
    answer(conversation_id, model="gpt-4o")
    answer(conversation_id, "Which colour?", model="gpt-4o")
    (_, first), _, (_, last) = openai.texts()
    assert (shown(first), last) == (["text", "image_url"], "Which colour?")


@pytest.mark.parametrize("limit", [{"chat_attachments": "2"}, {"chat_attachments_mb": "1"}], ids=["files", "bytes"])
def test_of_many_pictures_the_newest_are_shown(
    openai: OpenAIServer, configured: Callable[..., None], conversation_id: str, limit: dict[str, str]
) -> None:
    configured(**limit)
    large = PNG + b"\0" * 500_000  # two of them make a MiB
    openai.answers(*[openai.says("Yes.")] * 3)
    for number in range(3):
        bring(conversation_id, large, f"{number}.png")
        answer(conversation_id, str(number), model="gpt-4o")
    first, second, third = (said for _, said in openai.texts()[::2])
    assert "<file name='0.png'>\n(There is no text of it." in first
    assert (shown(second), shown(third)) == (["text", "image_url"], ["text", "image_url"])


def test_none_at_all_is_a_limit_too(
    openai: OpenAIServer, configured: Callable[..., None], conversation_id: str
) -> None:
    configured(chat_attachments="0")
    bring(conversation_id, PNG, "heron.png")
    openai.answers(openai.says("Yes."))
    answer(conversation_id, model="gpt-4o")
    assert isinstance(content(openai), str)


def test_a_picture_that_a_provider_would_refuse_for_its_size_is_told(
    configured: Callable[..., None], conversation_id: str
) -> None:
    with AnthropicServer() as server:
        configured(anthropic_api_key=anthropic_server.KEY, anthropic_base_url=server.url)
        bring(conversation_id, PNG + b"\0" * 4_000_000, "heron.png")
        server.answers(server.says("I see."))
        answer(conversation_id, model="claude-haiku-4.5")
        assert shown(content(server)) == ["text"]


def test_long_texts_leave_room_for_the_question(openai: OpenAIServer, conversation_id: str) -> None:
    for number in range(4):
        bring(conversation_id, b"heron " * 150_000, f"{number}.txt")
    openai.answers(openai.says("Yes."))
    answer(conversation_id, model="gpt-4o")
    told = content(openai)
    assert told.startswith("What is this?")
    assert told.count("<file name=") == 4
    assert len(told) < 128_000 * 3


# --- where the bytes are


def test_a_picture_in_a_bucket_is_fetched(openai: OpenAIServer, conversation_id: str, bucket: S3) -> None:
    bring(conversation_id, PNG, "heron.png")
    assert list(bucket.objects.values()) == [PNG]
    blobs.purge(set(), 0, 1e12)
    openai.answers(openai.says("A heron."))
    answer(conversation_id, model="gpt-4o")
    _, part = content(openai)
    assert base64.b64decode(part["image_url"]["url"].partition(",")[2]) == PNG


def test_a_picture_that_is_lost_does_not_end_the_conversation(
    openai: OpenAIServer, conversation_id: str, clean_redis: str
) -> None:
    bring(conversation_id, PNG, "heron.png")
    blobs.purge(set(), 0, 1e12)
    openai.answers(openai.says("I cannot see it."))
    job_id = answer(conversation_id, model="gpt-4o")
    assert "<file name='heron.png'>" in content(openai)
    (told,) = [event for event in events(clean_redis, job_id) if event.get("status") == "file_unavailable"]
    assert (told["filename"], told["message"]) == ("heron.png", "The uploaded file is no longer there.")


def test_a_deleted_file_is_not_shown(openai: OpenAIServer, conversation_id: str) -> None:
    file_id = bring(conversation_id, PNG, "heron.png")
    job_id = ask(conversation_id, model="gpt-4o")
    with transaction() as session:
        files.remove(session, file_id, LOCAL_OWNER)
    openai.answers(openai.says("What?"))
    run_job(job_id)
    answered(job_id)
    assert content(openai) == "What is this?"


# --- files that are still being read


def test_a_text_that_is_being_read_is_waited_for(openai: OpenAIServer, conversation_id: str, clean_redis: str) -> None:
    bring(conversation_id, b"Herons eat fish.", "herons.md", read=False)
    (reading,) = factories.all_jobs(Kind.EXTRACT)
    openai.answers(openai.says("Fish."))
    job_id = ask(conversation_id, model="gpt-4o")
    thread = threading.Thread(target=run_job, args=(job_id,))
    thread.start()
    wait_until(
        lambda: any(event.get("status") == "reading_files" for event in events(clean_redis, job_id)),
        what="the chat to wait",
    )
    assert not openai.asked
    run_job(reading.id)
    thread.join()
    answered(job_id)
    assert "Herons eat fish." in content(openai)


def test_nobody_waits_for_ever(openai: OpenAIServer, configured: Callable[..., None], conversation_id: str) -> None:
    configured(chat_wait_files_s="0.2")
    bring(conversation_id, b"Herons eat fish.", "herons.md", read=False)
    openai.answers(openai.says("What?"))
    answer(conversation_id, model="gpt-4o")
    assert "(There is no text of it.)" in content(openai)


def test_a_cancel_ends_the_wait(openai: OpenAIServer, held: Leases, conversation_id: str, clean_redis: str) -> None:
    bring(conversation_id, b"Herons eat fish.", "herons.md", read=False)
    job_id = ask(conversation_id, model="gpt-4o")
    thread = threading.Thread(target=run_job, args=(job_id,))
    thread.start()
    wait_until(
        lambda: any(event.get("status") == "reading_files" for event in events(clean_redis, job_id)),
        what="the chat to wait",
    )
    held._cancel(job_id)
    thread.join(5)
    assert factories.load(job_id).status == "cancelled"
    assert not openai.asked


def test_a_picture_is_shown_before_it_is_described(openai: OpenAIServer, conversation_id: str) -> None:
    bring(conversation_id, PNG, "heron.png", read=False)
    openai.answers(openai.says("A heron."))
    answer(conversation_id, model="gpt-4o")
    assert shown(content(openai)) == ["text", "image_url"]


# --- a talk about a draft


def test_a_talk_about_a_draft_shows_its_pictures_too(openai: OpenAIServer, drafted: str) -> None:
    picture, notes = bring(drafted, PNG, "heron.png"), bring(drafted, b"Herons eat fish.", "notes.txt")
    openai.answers(openai.says("A heron."))
    job_id = ask_about_draft(drafted, model="openai/gpt-4o", attachment_ids=[picture, notes])
    run_job(job_id)
    answered(job_id)
    text, part = content(openai)
    assert text["text"] == "Make it shorter.\n\n<file name='notes.txt'>\nHerons eat fish.\n</file>"
    assert base64.b64decode(part["image_url"]["url"].partition(",")[2]) == PNG


# --- without a model


def test_the_answerer_without_a_model_quotes_the_file(configured: Callable[..., None], conversation_id: str) -> None:
    configured()
    bring(conversation_id, b"Tomatoes need sun. Herons eat mostly fish and frogs.", "herons.md")
    job_id = answer(conversation_id, "What do herons eat?", model="extractive", max_tokens=500)
    result = answered(job_id).result
    assert result is not None
    assert "> Herons eat mostly fish and frogs.\n>\n> — herons.md" in result["content"]


# --- a local model


class Words:
    """A model that reads text only, and says how much of it."""

    name = provider = "words"
    abilities: frozenset[str] = frozenset()
    context_tokens = 400

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        yield Delta(request.messages[-1].content)
        yield Completion("stop", 1, 1)


def test_a_small_window_holds_what_fits_of_a_file(monkeypatch: pytest.MonkeyPatch, conversation_id: str) -> None:
    monkeypatch.setattr(registry, "language_model", lambda _name, _on_wait: nullcontext(Words()))
    bring(conversation_id, b"heron " * 5000, "herons.txt")
    result = answered(answer(conversation_id)).result
    assert result is not None
    assert 80 <= result["content"].count("heron ") <= 200
    assert result["content"].endswith("… (the rest is left out)\n</file>")


def test_a_pdf_is_no_picture() -> None:
    from workers.llm.remote import looks_at

    assert not looks_at(Words(), PDF, 1)
