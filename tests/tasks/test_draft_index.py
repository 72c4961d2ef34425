"""What a draft says is found, in the version that is active, for as long as there is the draft; in a real Chroma."""

from __future__ import annotations

from typing import Any

import pytest

from storage import chunks, conversations, drafts, messages, summaries
from storage.database import reading, transaction
from storage.ids import new_id
from storage.tables import LOCAL_OWNER
from storage.vectors import VectorIndex
from tasks.search import Retrieval, find_conversations, find_passages
from tests import factories
from tests.tasks.embedding import embed, rebuild
from workers.embedding.hashing import HashingEmbedder

pytestmark = pytest.mark.usefixtures("held", "clean_redis")


@pytest.fixture
def index(sqlite: str, hashing: HashingEmbedder) -> VectorIndex:
    return VectorIndex(f"{hashing.name}#1")


def write(conversation_id: str, title: str, description: str, **values: Any) -> str:
    """A further version; the draft's id."""
    with transaction() as session:
        row = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        return drafts.add_version(session, row, title, description, by=LOCAL_OWNER, **values).id


def hits(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = find_conversations(LOCAL_OWNER, text, 10, 0)["results"]
    return found


def rows() -> int:
    with reading() as session:
        return chunks.count(session)


def test_a_draft_is_found_and_says_what_it_is(index: VectorIndex) -> None:
    conversation = factories.conversation(title="A talk")
    draft = write(conversation, "Marsh walk", "Herons stand in the reeds.")
    embed()
    for asked in ("herons reeds", "marsh"):
        (hit,) = hits(asked)
        told = {"kind": "draft", "draft_id": draft, "draft_title": "Marsh walk", "conversation_id": conversation}
        assert hit.items() >= {**told, "message_id": None, "file_id": None, "filename": None, "role": None}.items()
        assert "text" in hit["why"]
        assert "Herons" in hit["snippet"]
    (passage,) = find_passages(Retrieval(LOCAL_OWNER, "herons reeds", 5))
    assert (passage.conversation_title, passage.message_id) == ("Project draft: Marsh walk", None)
    assert "Herons stand" in passage.text


def test_only_the_active_version_is_found(index: VectorIndex) -> None:
    conversation = factories.conversation()
    write(conversation, "First", "Herons stand in the reeds.")
    embed()
    write(conversation, "Second", "Otters swim in the brook.", is_manual_edit=True)
    embed()
    assert (hits("herons"), rows(), index.count()) == ([], 1, 1)
    assert [hit["draft_title"] for hit in hits("otters")] == ["Second"]
    write(conversation, "Third", "Foxes sleep.", activate=False)
    assert embed()["conversations"] == 0, "what is not active is not found"
    with transaction() as session:
        draft = drafts.get(session, conversation)
        (first,) = [row for row in drafts.page(session, draft, limit=9, offset=0)[0] if row.title == "First"]
        drafts.make_active(session, draft, first)
    embed()
    assert [hit["draft_title"] for hit in hits("herons")] == ["First"]
    assert (hits("otters"), rows(), index.count()) == ([], 1, 1)


def test_embedding_twice_or_from_the_start_doubles_nothing(index: VectorIndex, hashing: HashingEmbedder) -> None:
    conversation = factories.conversation()
    write(conversation, "Marsh", "Herons stand in the reeds. " * 200)
    added = embed()["chunks_added"]
    assert added > 1
    with transaction() as session:
        conversations.reindex(session, conversation)
    again = embed()
    assert (again["chunks_added"], again["chunks_removed"], rows(), index.count()) == (0, 0, added, added)
    assert rebuild()["chunks_added"] == added
    assert (rows(), VectorIndex(f"{hashing.name}#2").count()) == (added, added)
    assert [hit["kind"] for hit in hits("herons")] == ["draft"]


def test_a_draft_goes_with_its_conversation_and_stays_when_that_is_cleared(index: VectorIndex) -> None:
    conversation = factories.conversation()
    factories.question(conversation, "Where are otters?")
    write(conversation, "Marsh", "Herons stand in the reeds.")
    embed()
    with transaction() as session:
        messages.clear(session, conversation)
    assert [hit["kind"] for hit in hits("herons")] == ["draft"]
    assert all("Where" not in (hit["snippet"] or "") for hit in hits("otters"))
    with transaction() as session:
        conversations.remove(session, conversation, LOCAL_OWNER)
    assert hits("herons") == []
    embed()
    assert (rows(), index.count()) == (0, 0)


def test_a_draft_makes_no_summary_stale(database: str) -> None:
    """The summary speaks of what was said, which is the same; a message makes it stale."""
    conversation = factories.conversation()
    with transaction() as session:
        row = conversations.get(session, conversation, LOCAL_OWNER)
        summaries.write(session, row.id, replace_edited=False, text="Of roses.", content_version=row.content_version)

    def is_fresh() -> bool:
        with reading() as session:
            row = conversations.get(session, conversation, LOCAL_OWNER)
            assert row.indexed_version < row.content_version
            found = summaries.find(session, conversation)
            assert found is not None
            return found.content_version == row.content_version

    write(conversation, "Roses", "Plant.")
    assert is_fresh()
    with transaction() as session:
        conversations.touch(session, conversation)
    assert not is_fresh()
    write(conversation, "Roses", "Plant more.", id=new_id())
    assert not is_fresh(), "one that was stale stays so"


def test_another_persons_draft_is_not_found(index: VectorIndex) -> None:
    other = factories.owner()
    theirs = factories.conversation(other)
    with transaction() as session:
        row = conversations.get(session, theirs, other, lock=True)
        drafts.add_version(session, row, "Marsh", "Herons stand in the reeds.", by=other)
    embed(other)
    assert index.count() == 1
    assert hits("herons") == []
