"""An embedding that is stopped in the middle repeats nothing and loses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from config.errors import Unavailable
from config.queues import Kind
from storage import conversations, indexes
from storage.database import reading, transaction
from storage.indexes import Target
from storage.tables import LOCAL_OWNER
from storage.vectors import VectorIndex
from tasks.base import bury_or_put_back, run_job
from tasks.embeddings import request_embedding
from tasks.leases import Leases
from tests import factories
from tests.tasks.embedding import Interrupt, Killed, before_batch, embed, index, rows, said, small_slices, waiting_job
from workers.embedding.hashing import HashingEmbedder

__all__ = ["before_batch", "index", "small_slices"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis", "hashing")


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
