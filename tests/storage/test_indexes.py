"""Which index serves, which is built, and what either lacks."""

from __future__ import annotations

import pytest

from storage import chunks, conversations, indexes
from storage.database import reading, transaction
from storage.ids import new_id
from storage.indexes import Target
from storage.tables import LOCAL_OWNER, utcnow
from tests import factories

pytestmark = pytest.mark.usefixtures("database")
SERVING = Target("m#1", new=False)


def target(model: str = "m", rebuild: bool = False, owner_id: str = LOCAL_OWNER) -> Target:
    with transaction() as session:
        return indexes.target(session, owner_id, model, rebuild=rebuild)


def switch() -> None:
    with transaction() as session:
        indexes.switch(session, LOCAL_OWNER)


def lacking(index: Target) -> list[str]:
    with reading() as session:
        found = [row.id for row in indexes.unindexed(session, LOCAL_OWNER, index, 10)]
        assert indexes.count_unindexed(session, LOCAL_OWNER, index) == len(found)
        return found


def mark(conversation_id: str, index: Target, version: int = 1) -> None:
    with transaction() as session:
        indexes.mark_indexed(session, conversation_id, index, version)


def test_the_first_index_serves_at_once() -> None:
    with reading() as session:
        assert indexes.serving(session, LOCAL_OWNER) is None
    assert target() == target() == SERVING
    with reading() as session:
        assert indexes.serving(session, LOCAL_OWNER) == "m#1"


def test_a_rebuild_stands_beside_until_the_switch() -> None:
    conversation_id = factories.conversation()
    target()
    mark(conversation_id, SERVING)
    new = target(rebuild=True)
    assert new == Target("m#2", new=True)
    assert target() == target(rebuild=True) == new  # begun once, gone on with
    assert (lacking(SERVING), lacking(new)) == ([], [conversation_id])
    with reading() as session:
        assert indexes.serving(session, LOCAL_OWNER) == "m#1"
        assert indexes.owners_unindexed(session) == [LOCAL_OWNER]
    mark(conversation_id, new)
    switch()
    assert target() == Target("m#2", new=False)
    assert lacking(target()) == []
    with transaction() as session:
        assert indexes.retiring(session, LOCAL_OWNER) == "m#1"
        assert indexes.retired(session, LOCAL_OWNER, "m#1")
        assert indexes.owners_unindexed(session) == []


def test_what_changes_while_it_is_built_is_not_lost() -> None:
    early, late = factories.conversation(), factories.conversation()
    target()
    new = target(rebuild=True)
    mark(early, new)
    mark(late, new)
    with transaction() as session:
        conversations.touch(session, late)
    switch()
    assert lacking(target()) == [late]


def test_another_model_begins_another_index() -> None:
    target()
    other = target("n")
    assert other == Target("n#2", new=True)
    with reading() as session:
        assert indexes.owners_of_other_models(session, "n") == [LOCAL_OWNER]
        assert indexes.owners_of_other_models(session, "m") == []
    assert target("m") == SERVING  # changed back before it was done
    with reading() as session:
        assert indexes.retiring(session, LOCAL_OWNER) == "n#2"
    assert target("o") == Target("o#3", new=True)


def test_a_collection_goes_with_its_last_owner() -> None:
    other = factories.owner()
    target()
    target(owner_id=other)
    target(rebuild=True)
    switch()
    with transaction() as session:
        assert not indexes.retired(session, LOCAL_OWNER, "m#1")


def test_what_the_index_has_to_follow() -> None:
    first, second = factories.conversation(), factories.conversation()
    factories.conversation(other := factories.owner())
    with reading() as session:
        assert set(indexes.owners_unindexed(session)) == {LOCAL_OWNER, other}
    assert lacking(SERVING) == [first, second]
    mark(first, SERVING)
    assert lacking(SERVING) == [second]
    with transaction() as session:
        conversations.touch(session, first)
    mark(second, SERVING)
    assert lacking(SERVING) == [first]


def test_chunks_of_one_index_and_owner() -> None:
    conversation_id, theirs = factories.conversation(), factories.conversation(factories.owner())
    with transaction() as session:
        for about, index in ((conversation_id, "m#1"), (conversation_id, "m#2"), (theirs, "m#1")):
            row = {"id": new_id(), "conversation_id": about, "message_id": new_id(), "start": 0, "end": 1, "text": "x"}
            chunks.add(session, [row | {"embedding_model": index, "created_at": utcnow()}])
        (found,) = indexes.chunk_ids(session, LOCAL_OWNER, "m#1", 10)
        assert chunks.ids_of(session, conversation_id, "m#1") == {found}
