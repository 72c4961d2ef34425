"""What is deleted leaves no vectors, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from config.errors import Unavailable
from config.queues import Kind
from storage import conversations, gone, messages, vectors
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from storage.vectors import VectorIndex
from tasks.base import bury_or_put_back, run_job
from tasks.embeddings import embed_leftovers, request_embedding
from tests import factories
from tests.tasks.embedding import Interrupt, Killed, before_batch, embed, index, rows, said

__all__ = ["before_batch", "index"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis", "hashing")


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
