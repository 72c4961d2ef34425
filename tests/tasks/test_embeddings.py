"""What was said becomes searchable, and what is edited or cleared stops being so; in a real Chroma."""

from __future__ import annotations

from unittest.mock import ANY

import pytest

from config.queues import Kind
from storage import conversations, indexes
from storage.database import reading, transaction
from storage.indexes import Target
from storage.tables import LOCAL_OWNER
from storage.vectors import VectorIndex
from tasks import embeddings
from tasks.base import bury_or_put_back, run_job
from tasks.embeddings import request_embedding
from tasks.leases import Leases
from tasks.search import find_conversations
from tests import factories
from tests.tasks.embedding import Interrupt, before_batch, embed, index, rebuild, rows, said
from workers import registry
from workers.embedding.hashing import HashingEmbedder

__all__ = ["before_batch", "index"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis", "hashing")


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


# --- rebuilding


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
