"""An uploaded file is read, described, found again, and gone when it is deleted; over real servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from config.queues import Kind
from config.settings import get_settings, reset_settings
from storage import blobs, conversations, files
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from storage.vectors import VectorIndex
from tasks import files as task
from tasks import upkeep
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tasks.search import Retrieval, find_conversations, find_passages
from tests import documents, factories
from tests.standins.openai_server import KEY, OpenAIServer
from tests.standins.server import Reply
from tests.tasks.embedding import embed
from tests.tasks.extracting import Killed, brought, load, remove, worked
from workers import registry
from workers.documents import reader
from workers.embedding.hashing import HashingEmbedder

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


# --- reading


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (documents.pdf("Tomatoes need sun", "and water"), "a.pdf", "Tomatoes need sun\n\nand water"),
        (b"# Tomatoes\nneed sun", "a.md", "# Tomatoes\nneed sun"),
        ("Grüße".encode("cp1252"), "a.txt", "Grüße"),
        (documents.SVG, "a.svg", "A drawing of a heron"),
    ],
)
def test_what_it_says_is_kept(content: bytes, name: str, text: str) -> None:
    file_id, job_id = brought(content, name)
    result = worked(job_id)
    assert (result["characters"], result["problem"], result["stored"]) == (len(text), None, "disk")
    file = load(file_id)
    assert (file.extracted_text, file.problem) == (text, None)
    assert file.read_at is not None


def test_a_file_that_cannot_be_read_is_kept_and_says_why() -> None:
    file_id, job_id = brought(documents.locked_pdf("swordfish"), "a.pdf")
    assert worked(job_id)["problem"] == "The PDF is protected by a password."
    file = load(file_id)
    assert (file.extracted_text, file.problem) == (None, "The PDF is protected by a password.")
    assert blobs.path(file.digest).is_file()


def test_a_picture_without_a_model_that_looks_at_it() -> None:
    file_id, job_id = brought(documents.png(), "a.png")
    result = worked(job_id)
    assert result["described"] is False
    assert "VISION_MODEL" in result["problem"]
    assert load(file_id).problem == result["problem"]


def test_a_file_that_was_deleted_before() -> None:
    file_id, job_id = brought(b"text", "a.txt")
    remove(file_id)
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert factories.all_conversations()[0].has_attachments is False


def test_a_file_that_is_deleted_while_it_is_read(monkeypatch: pytest.MonkeyPatch, held: Leases) -> None:
    file_id, job_id = brought(documents.pdf("x"), "a.pdf")
    read = reader.read_document

    def meanwhile(*given: Any, **more: Any) -> Any:
        remove(file_id)
        return read(*given, **more)

    monkeypatch.setattr(task, "read_document", meanwhile)
    run_job(job_id)
    job = factories.load(job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert "deleted" in job.error["message"]
    with reading() as session:
        assert files.find(session, file_id) is None


def test_a_conversation_that_is_deleted_while_its_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    conversation_id = factories.conversation()
    _, job_id = brought(documents.pdf("x"), "a.pdf", conversation_id)
    read = reader.read_document

    def meanwhile(*given: Any, **more: Any) -> Any:
        with transaction() as session:
            conversations.remove(session, conversation_id, LOCAL_OWNER)
        return read(*given, **more)

    monkeypatch.setattr(task, "read_document", meanwhile)
    run_job(job_id)
    assert factories.load(job_id).status == "failed"
    assert factories.all_conversations() == []


def test_a_dead_workers_reading_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    file_id, job_id = brought(b"Tomatoes need sun", "a.txt")

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(task, "_stored", killed)
        with pytest.raises(Killed):
            run_job(job_id)
    assert load(file_id).extracted_text == "Tomatoes need sun"
    bury_or_put_back(factories.load(job_id))
    monkeypatch.setattr(task, "_read", killed)
    assert worked(job_id)["characters"] == 17


# --- describing


@pytest.fixture
def vision(settings: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        for name, value in {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": server.url,
            "VISION_MODEL": "gpt-4o-mini",
        }.items():
            settings.setenv(name, value)
        settings.setenv("PROVIDER_MAX_RETRIES", "0")
        settings.setattr(registry, "_remotes", None)
        reset_settings()
        yield server


def test_a_picture_is_described(vision: OpenAIServer) -> None:
    vision.answers(vision.says("A heron ", "in the reeds."))
    file_id, job_id = brought(documents.png(), "heron.png")
    assert worked(job_id)["described"] is True
    file = load(file_id)
    assert (file.summary_text, file.problem) == ("A heron in the reeds.", None)
    sent = str(vision.bodies()[-1])
    assert "data:image/png;base64," in sent
    assert vision.problems == []


def test_a_provider_that_is_away_is_asked_again(vision: OpenAIServer) -> None:
    vision.answers(Reply(b"{}", status=503), vision.says("A heron."))
    file_id, job_id = brought(documents.png(), "heron.png")
    run_job(job_id)
    assert factories.load(job_id).status == "queued"
    factories.change(job_id, run_after=None)
    assert worked(job_id)["described"] is True
    assert load(file_id).summary_text == "A heron."


def test_a_provider_that_refuses_leaves_the_file(vision: OpenAIServer) -> None:
    vision.answers(vision.refused(400, "no such pictures"))
    file_id, job_id = brought(documents.png(), "heron.png")
    result = worked(job_id)
    assert result["described"] is False
    problem = load(file_id).problem
    assert problem is not None
    assert problem.startswith("It was not described: ")


# --- finding


@pytest.fixture
def index(hashing: HashingEmbedder) -> VectorIndex:
    return VectorIndex(f"{hashing.name}#1")


def found(text: str) -> list[tuple[str | None, str | None]]:
    hits = find_conversations(LOCAL_OWNER, text, 10, 0)["results"]
    return [(hit["filename"], hit["file_id"]) for hit in hits]


def test_what_a_file_says_is_found_until_it_is_deleted(index: VectorIndex) -> None:
    file_id, job_id = brought(documents.pdf("Herons stand in the reeds"), "birds.pdf")
    worked(job_id)
    assert factories.all_jobs(Kind.EMBED), "the job asks for it by itself"
    embed()
    assert found("herons reeds") == [("birds.pdf", file_id)]
    (hit,) = find_conversations(LOCAL_OWNER, "herons reeds", 10, 0)["results"]
    assert (hit["message_id"], hit["role"], hit["why"]) == (None, None, hit["why"])
    assert "Herons" in hit["snippet"]
    remove(file_id)
    assert found("herons reeds") == []
    embed()
    assert index.count() == 0


def test_a_conversation_is_answered_from_its_own_files(index: VectorIndex) -> None:
    """What was said is in the prompt anyway; what a file says is not."""
    conversation_id = factories.conversation(title="Birds")
    factories.question(conversation_id, "herons reeds?")
    with transaction() as session:
        conversations.touch(session, conversation_id)
    worked(brought(b"Herons stand in the reeds", "birds.txt", conversation_id)[1])
    embed()
    (passage,) = find_passages(Retrieval(LOCAL_OWNER, "herons reeds", 5, not_in=conversation_id))
    assert (passage.text, passage.conversation_title) == ("Herons stand in the reeds", "birds.txt (Birds)")
    assert passage.message_id is None


def test_a_description_is_found(index: VectorIndex, vision: OpenAIServer) -> None:
    vision.answers(vision.says("A heron in the reeds"))
    file_id, job_id = brought(documents.png(), "IMG_1.png")
    worked(job_id)
    embed()
    assert found("heron reeds") == [("IMG_1.png", file_id)]


# --- on disk


def test_purge_spares_files_in_use() -> None:
    conversation_id = factories.conversation()
    file_id, job_id = brought(b"mine", "a.txt", conversation_id)
    again, other = brought(b"mine", "b.txt", conversation_id)
    for one in (job_id, other):
        worked(one)
    path = blobs.path(load(file_id).digest)
    os.utime(path, (0, 0))
    upkeep.purge()
    remove(file_id)
    upkeep.purge()
    assert path.is_file(), "another file has the same bytes"
    remove(again)
    upkeep.purge()
    assert not path.exists()
    assert get_settings().data_dir.exists()


def test_rows_say_what_is_there() -> None:
    conversation_id = factories.conversation()
    first, _ = brought(b"a", "a.txt", conversation_id)
    second, _ = brought(b"b", "b.txt", conversation_id)
    assert factories.all_conversations()[0].has_attachments is True
    remove(first)
    assert factories.all_conversations()[0].has_attachments is True
    remove(second)
    assert factories.all_conversations()[0].has_attachments is False
