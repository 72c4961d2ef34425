"""What was said becomes searchable, and what is edited or cleared stops being so; in a real Chroma."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import Unavailable
from config.queues import Kind
from storage import chunks, conversations, gone, indexes, messages, vectors
from storage.database import reading, transaction
from storage.indexes import Target
from storage.tables import LOCAL_OWNER
from storage.vectors import VectorIndex
from tasks import embeddings
from tasks.base import bury_or_put_back, run_job
from tasks.embeddings import embed_leftovers, request_embedding
from tasks.leases import Leases
from tasks.search import find_conversations
from tests import factories
from workers import registry
from workers.embedding.hashing import HashingEmbedder

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis", "hashing")


def embed(owner_id: str = LOCAL_OWNER) -> dict[str, Any]:
    """One job of kind embed, from asking to its result."""
    with transaction() as session:
        request_embedding(session, owner_id)
    job = factories.all_jobs(Kind.EMBED)[-1]
    run_job(job.id)
    done = factories.load(job.id)
    assert done.status == "succeeded", done.error
    assert done.result is not None
    return done.result


def said(*texts: str, native_id: str = "c", owner_id: str = LOCAL_OWNER) -> str:
    with transaction() as session:
        return conversations.upsert(session, owner_id, *factories.imported(native_id, texts)).conversation_id


def rows() -> int:
    with reading() as session:
        return chunks.count(session)


@pytest.fixture
def index(hashing: HashingEmbedder) -> VectorIndex:
    return VectorIndex(f"{hashing.name}#1")


def test_everything_that_changed_is_embedded_once(index: VectorIndex) -> None:
    said("tomatoes need sun", "and water", native_id="a")
    said("an index makes queries quick", native_id="b")
    assert embed() == {"conversations": 2, "chunks_added": 3, "chunks_removed": 0, "index": ANY}
    assert (rows(), index.count()) == (3, 3)
    assert embed() == {"conversations": 0, "chunks_added": 0, "chunks_removed": 0, "index": ANY}
    with reading() as session:
        assert indexes.count_unindexed(session, LOCAL_OWNER, Target("", new=False)) == 0


def test_edits_reach_the_index(index: VectorIndex) -> None:
    said("tomatoes need sun", "and water")
    embed()
    said("tomatoes need shade", "and water")
    assert embed() == {"conversations": 1, "chunks_added": 1, "chunks_removed": 1, "index": ANY}
    assert (rows(), index.count()) == (2, 2)


def test_additions_embed_only_what_is_new(index: VectorIndex) -> None:
    said("tomatoes need sun")
    embed()
    said("tomatoes need sun", "and water")
    assert embed() == {"conversations": 1, "chunks_added": 1, "chunks_removed": 0, "index": ANY}
    assert index.count() == 2


def test_what_is_not_shown_is_not_embedded(index: VectorIndex) -> None:
    shown = factories.imported_message("a", None, 0, "shown")
    hidden = [
        factories.imported_message("b", "a", 1, "reasoning", visibility="reasoning"),
        factories.imported_message("c", "a", 2, "another branch", on_path=False),
        factories.imported_message("d", "a", 3, "instructions", role="system"),
        factories.imported_message("e", "a", 4, "   "),
    ]
    with transaction() as session:
        given = [shown, *hidden]
        conversations.upsert(session, LOCAL_OWNER, factories.imported_conversation("c", given), given)
    assert embed()["chunks_added"] == 1


def test_owners_are_embedded_apart(index: VectorIndex) -> None:
    other = factories.owner()
    said("mine")
    said("theirs", owner_id=other)
    assert embed() == {"conversations": 1, "chunks_added": 1, "chunks_removed": 0, "index": ANY}
    assert embed(other) == {"conversations": 1, "chunks_added": 1, "chunks_removed": 0, "index": ANY}


def test_one_job_is_on_its_way_at_a_time() -> None:
    with transaction() as session:
        request_embedding(session, LOCAL_OWNER)
        request_embedding(session, LOCAL_OWNER)
    with transaction() as session:
        request_embedding(session, LOCAL_OWNER)
    assert len(factories.all_jobs(Kind.EMBED)) == 1


# --- stopped in the middle

Interrupt = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def before_batch(hashing: HashingEmbedder, monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Call something before that many batches were embedded, once."""
    really = hashing.embed

    def interrupt(count: int, call: Callable[[], None]) -> None:
        seen = [0]

        def interrupted(texts: Sequence[str], *, urgent: bool = False) -> NDArray[np.float32]:
            seen[0] += 1
            if seen[0] == count + 1:
                call()
            return really(texts, urgent=urgent)

        monkeypatch.setattr(hashing, "embed", interrupted)

    return interrupt


class Killed(BaseException):
    """kill -9 as far as the job is concerned."""


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "CHUNKS_PER_SLICE", 4)
    monkeypatch.setattr(embeddings, "CONVERSATIONS_PER_SLICE", 2)


def waiting_job() -> str:
    """Fourteen chunks in seven conversations, and a job that wants them."""
    for number in range(7):
        said(f"question {number}", f"answer {number}", native_id=f"c{number}")
    with transaction() as session:
        request_embedding(session, LOCAL_OWNER)
    (job,) = factories.all_jobs(Kind.EMBED)
    return job.id


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_killed_worker_repeats_nothing_that_was_written(before_batch: Interrupt, index: VectorIndex, at: int) -> None:
    def kill() -> None:
        raise Killed

    job_id = waiting_job()
    before_batch(at, kill)
    with pytest.raises(Killed):
        run_job(job_id)
    written = rows()
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    job = factories.load(job_id)
    assert (job.status, rows(), index.count()) == ("succeeded", 14, 14)
    assert job.result is not None
    assert job.result["chunks_added"] == 14 - written


@pytest.mark.usefixtures("small_slices")
def test_vectors_without_rows_are_made_good(
    monkeypatch: pytest.MonkeyPatch, index: VectorIndex, hashing: HashingEmbedder
) -> None:
    """Killed between Chroma and the commit: the same vectors again change nothing."""
    upsert = VectorIndex.upsert

    def killed(self: VectorIndex, *given: Any) -> None:
        upsert(self, *given)
        raise Killed

    job_id = waiting_job()
    with monkeypatch.context() as patched:
        patched.setattr(VectorIndex, "upsert", killed)
        with pytest.raises(Killed):
            run_job(job_id)
    assert (rows(), index.count()) == (0, 4)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert (rows(), index.count()) == (14, 14)


@pytest.mark.usefixtures("small_slices")
def test_an_overtaken_worker_writes_nothing_more(before_batch: Interrupt, index: VectorIndex) -> None:
    job_id = waiting_job()

    def overtaken() -> None:
        factories.put_back(job_id)
        run_job(job_id)

    before_batch(1, overtaken)
    run_job(job_id)
    assert (factories.load(job_id).attempt, rows(), index.count()) == (2, 14, 14)


@pytest.mark.usefixtures("small_slices")
def test_a_stopped_worker_gives_the_rest_to_the_next(before_batch: Interrupt, held: Leases) -> None:
    job_id = waiting_job()
    before_batch(1, held.stopping.set)
    run_job(job_id)
    assert (factories.load(job_id).status, factories.load(job_id).failures) == ("queued", 0)
    held.stopping.clear()
    run_job(job_id)
    assert rows() == 14


def test_a_conversation_deleted_meanwhile_leaves_no_rows(before_batch: Interrupt) -> None:
    conversation_id = said("tomatoes need sun")

    def delete() -> None:
        with transaction() as session:
            conversations.remove(session, conversation_id, LOCAL_OWNER)

    before_batch(0, delete)
    embed()
    assert rows() == 0


def test_a_conversation_changed_meanwhile_is_taken_again(before_batch: Interrupt, index: VectorIndex) -> None:
    said("tomatoes need sun")
    before_batch(0, lambda: said("tomatoes need sun", "and water") and None)
    embed()
    assert (rows(), index.count()) == (2, 2)
    with reading() as session:
        assert indexes.count_unindexed(session, LOCAL_OWNER, Target("", new=False)) == 0


def test_a_chroma_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise Unavailable("The vector index cannot be reached.")

    said("tomatoes need sun")
    with transaction() as session:
        request_embedding(session, LOCAL_OWNER)
    (job,) = factories.all_jobs(Kind.EMBED)
    with monkeypatch.context() as patched:
        patched.setattr(VectorIndex, "upsert", away)
        run_job(job.id)
    assert (factories.load(job.id).status, rows()) == ("queued", 0)
    factories.change(job.id, run_after=None)
    run_job(job.id)
    assert rows() == 1


# --- what is gone


def cleared(conversation_id: str) -> None:
    with transaction() as session:
        messages.clear(session, conversation_id)
        conversations.touch(session, conversation_id)


def removed(conversation_id: str) -> None:
    with transaction() as session:
        conversations.remove(session, conversation_id, LOCAL_OWNER)


def owing() -> int:
    with reading() as session:
        return len(gone.vectors(session, LOCAL_OWNER, 1000))


@pytest.mark.parametrize("forget", [cleared, removed])
def test_what_is_deleted_leaves_no_vectors(forget: Callable[[str], None], index: VectorIndex) -> None:
    said("and this stays", native_id="a")
    conversation_id = said("tomatoes need sun", "and water", native_id="b")
    embed()
    forget(conversation_id)
    assert (rows(), index.count(), owing()) == (1, 3, 2)
    embed()
    assert (rows(), index.count(), owing()) == (1, 1, 0)


def test_vectors_go_when_chroma_is_back(index: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation_id = said("tomatoes need sun")
    embed()
    removed(conversation_id)

    def away(*_: Any) -> None:
        raise Unavailable("The vector index cannot be reached.")

    with monkeypatch.context() as patched:
        patched.setattr(VectorIndex, "delete", away)
        embed_leftovers()
        job = factories.all_jobs(Kind.EMBED)[-1]
        run_job(job.id)
    assert (factories.load(job.id).status, owing(), index.count()) == ("queued", 1, 1)
    factories.change(job.id, run_after=None)
    run_job(job.id)
    assert (factories.load(job.id).status, owing(), index.count()) == ("succeeded", 0, 0)


def test_a_conversation_deleted_meanwhile_leaves_no_vectors(before_batch: Interrupt, index: VectorIndex) -> None:
    conversation_id = said("tomatoes need sun")
    before_batch(0, lambda: removed(conversation_id))
    embed()
    assert (rows(), index.count(), owing()) == (0, 0, 0)


def test_a_dead_workers_vectors_of_what_was_deleted_since_go_too(
    monkeypatch: pytest.MonkeyPatch, index: VectorIndex
) -> None:
    conversation_id = said("tomatoes need sun")
    with transaction() as session:
        request_embedding(session, LOCAL_OWNER)
    (job,) = factories.all_jobs(Kind.EMBED)
    upsert = VectorIndex.upsert

    def killed(self: VectorIndex, *given: Any) -> None:
        upsert(self, *given)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(VectorIndex, "upsert", killed)
        with pytest.raises(Killed):
            run_job(job.id)
    assert index.count() == 1
    removed(conversation_id)
    bury_or_put_back(factories.load(job.id))
    run_job(job.id)
    assert (factories.load(job.id).status, index.count(), owing()) == ("succeeded", 0, 0)


def test_an_index_that_is_gone_as_a_whole_is_not_made_again(index: VectorIndex) -> None:
    conversation_id = said("tomatoes need sun")
    embed()
    removed(conversation_id)
    index.drop()
    embed()
    assert owing() == 0
    assert index.name not in {collection.name for collection in vectors._connect().list_collections()}


# --- rebuilding


def rebuild() -> dict[str, Any]:
    job_id = factories.job(Kind.EMBED, input={"rebuild": True}, serial_key=f"embed:{LOCAL_OWNER}")
    run_job(job_id)
    done = factories.load(job_id)
    assert done.status == "succeeded", done.error
    assert done.result is not None
    return done.result


def found(text: str) -> list[str]:
    return [hit["snippet"] for hit in find_conversations(LOCAL_OWNER, text, 10, 0)["results"]]


def test_a_rebuilt_index_takes_the_place_of_the_old_one(index: VectorIndex, hashing: HashingEmbedder) -> None:
    said("tomatoes need sun", native_id="a")
    said("and water", native_id="b")
    embed()
    done = rebuild()
    assert done == {"conversations": 2, "chunks_added": 2, "chunks_removed": 0, "index": f"{hashing.name}#2"}
    assert (rows(), VectorIndex(f"{hashing.name}#2").count()) == (2, 2)
    assert index.count() == 0  # made anew by looking: the old collection is gone
    assert found("tomatoes") == ["tomatoes need sun"]
    assert embed()["chunks_added"] == 0


def test_the_old_index_serves_until_the_new_one_is_done(before_batch: Interrupt, held: Leases) -> None:
    said("tomatoes need sun")
    embed()
    seen: list[list[str]] = []
    before_batch(0, lambda: seen.append(found("tomatoes")))
    rebuild()
    assert seen == [["tomatoes need sun"]]


def test_a_killed_rebuild_goes_on_with_what_it_began(before_batch: Interrupt, hashing: HashingEmbedder) -> None:
    for number in range(3):
        said(f"tomato {number}", native_id=str(number))
    embed()

    def die() -> None:
        raise KeyboardInterrupt

    before_batch(0, die)
    job_id = factories.job(Kind.EMBED, input={"rebuild": True}, serial_key=f"embed:{LOCAL_OWNER}")
    with pytest.raises(KeyboardInterrupt):
        run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    result = factories.load(job_id).result
    assert result is not None
    assert (result["index"], rows()) == (f"{hashing.name}#2", 3)


def test_another_embedding_model_makes_another_index(hashing: HashingEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    said("tomatoes need sun")
    embed()
    other = HashingEmbedder()
    other.name = f"{hashing.name}-other"
    monkeypatch.setattr(registry, "_embedder", other)
    assert found("tomatoes") == ["tomatoes need sun"]  # by its words: the model that made the index is gone
    embeddings.embed_anew_where_the_model_changed(other.name)
    (job,) = [job for job in factories.all_jobs(Kind.EMBED) if job.status == "queued"]
    run_job(job.id)
    assert found("tomatoes") == ["tomatoes need sun"]
    with reading() as session:
        assert indexes.serving(session, LOCAL_OWNER) == f"{other.name}#2"
    assert rows() == 1
