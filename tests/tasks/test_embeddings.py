"""What was said becomes searchable, and what is edited or cleared stops being so; in a real Chroma."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import Unavailable
from config.queues import Kind
from storage import chunks, conversations, messages
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from storage.vectors import VectorIndex
from tasks import embeddings
from tasks.base import bury_or_put_back, run_job
from tasks.embeddings import request_embedding
from tasks.leases import Leases
from tests import factories
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
    return VectorIndex(hashing.name)


def test_everything_that_changed_is_embedded_once(index: VectorIndex) -> None:
    said("tomatoes need sun", "and water", native_id="a")
    said("an index makes queries quick", native_id="b")
    assert embed() == {"conversations": 2, "chunks_added": 3, "chunks_removed": 0}
    assert (rows(), index.count()) == (3, 3)
    assert embed() == {"conversations": 0, "chunks_added": 0, "chunks_removed": 0}
    with reading() as session:
        assert conversations.count_unindexed(session, LOCAL_OWNER) == 0


def test_edits_reach_the_index(index: VectorIndex) -> None:
    said("tomatoes need sun", "and water")
    embed()
    said("tomatoes need shade", "and water")
    assert embed() == {"conversations": 1, "chunks_added": 1, "chunks_removed": 1}
    assert (rows(), index.count()) == (2, 2)


def test_additions_embed_only_what_is_new(index: VectorIndex) -> None:
    said("tomatoes need sun")
    embed()
    said("tomatoes need sun", "and water")
    assert embed() == {"conversations": 1, "chunks_added": 1, "chunks_removed": 0}
    assert index.count() == 2


def test_a_cleared_conversation_leaves_the_index(index: VectorIndex) -> None:
    conversation_id = said("tomatoes need sun", "and water")
    embed()
    with transaction() as session:
        messages.clear(session, conversation_id)
        conversations.touch(session, conversation_id)
    assert embed() == {"conversations": 1, "chunks_added": 0, "chunks_removed": 2}
    assert (rows(), index.count()) == (0, 0)


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
    assert embed() == {"conversations": 1, "chunks_added": 1, "chunks_removed": 0}
    assert embed(other) == {"conversations": 1, "chunks_added": 1, "chunks_removed": 0}


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
        assert conversations.count_unindexed(session, LOCAL_OWNER) == 0


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
