"""Files and what is owed elsewhere when they go, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from config.errors import Conflict, NotFound
from storage import backlog, conversations, files, gone, messages
from storage.database import reading, transaction
from storage.project_tables import FileAttachment
from storage.tables import LOCAL_OWNER, Chunk, utcnow
from tests import factories

pytestmark = pytest.mark.usefixtures("clean_redis")


def add(conversation_id: str, name: str = "a.txt", **values: object) -> str:
    given = {"filename": name, "file_size": 4, "file_type": "text/plain", "digest": name.ljust(64, "0")}
    with transaction() as session:
        row = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        return files.add(session, row, **{**given, **values}).id


def chunk(conversation_id: str, source_id: str, chunk_id: str) -> None:
    with transaction() as session:
        session.add(
            Chunk(
                id=chunk_id,
                conversation_id=conversation_id,
                message_id=source_id,
                start=0,
                end=1,
                text="x",
                embedding_model="m#1",
            )
        )


def owed() -> tuple[list[tuple[str, str]], list[str]]:
    """(vectors, objects)."""
    with reading() as session:
        return sorted(gone.vectors(session, LOCAL_OWNER, 100)), sorted(gone.objects(session, 100))


def test_files_are_listed_in_the_order_they_came(database: str) -> None:
    conversation_id = factories.conversation()
    ids = [add(conversation_id, f"{number}.txt") for number in range(3)]
    add(factories.conversation())
    with reading() as session:
        rows, total = files.page(session, conversation_id, limit=2, offset=1)
        assert ([row.id for row in rows], total) == (ids[1:], 3)
        assert files.count(session, LOCAL_OWNER) == 4
        assert files.count(session, factories.owner()) == 0


def test_somebody_elses_file_is_not_there(database: str) -> None:
    file_id, other = add(factories.conversation()), factories.owner()
    with reading() as session, pytest.raises(NotFound):
        files.get(session, file_id, other)
    with pytest.raises(NotFound), transaction() as session:
        files.remove(session, file_id, other)


def test_a_locked_conversation_keeps_its_files(database: str) -> None:
    conversation_id = factories.conversation()
    file_id = add(conversation_id)
    with transaction() as session:
        conversations.get(session, conversation_id, LOCAL_OWNER).is_locked = True
    with pytest.raises(Conflict), transaction() as session:
        files.remove(session, file_id, LOCAL_OWNER)


def test_a_removed_file_takes_its_passages_along(database: str) -> None:
    conversation_id = factories.conversation()
    file_id, other = add(conversation_id, s3_key="k/a.txt"), add(conversation_id, "b.txt", s3_key="k/b.txt")
    question = factories.question(conversation_id)
    for source_id in (file_id, other, question.id):
        chunk(conversation_id, source_id, source_id)
    with transaction() as session:
        files.remove(session, file_id, LOCAL_OWNER)
    assert owed() == ([("m#1", file_id)], ["k/a.txt"])


def test_cleared_words_go_and_files_stay(database: str) -> None:
    conversation_id = factories.conversation()
    file_id, question = add(conversation_id), factories.question(conversation_id)
    for source_id in (file_id, question.id):
        chunk(conversation_id, source_id, source_id)
    with transaction() as session:
        assert messages.clear(session, conversation_id) == 1
    assert owed() == ([("m#1", question.id)], [])
    with reading() as session:
        assert files.find(session, file_id) is not None
    assert factories.all_conversations()[0].has_attachments is True


def test_a_removed_conversation_leaves_nothing_elsewhere(database: str) -> None:
    conversation_id, kept = factories.conversation(), factories.conversation()
    for place in (conversation_id, kept):
        file_id = add(place, f"{place}.txt", s3_key=f"{place}/a.txt")
        add(place, "b.txt")
        chunk(place, file_id, place)
    with transaction() as session:
        gone.note_vectors(session, LOCAL_OWNER, "m#1", [conversation_id])  # by somebody before
        conversations.remove(session, conversation_id, LOCAL_OWNER)
    assert owed() == ([("m#1", conversation_id)], [f"{conversation_id}/a.txt"])
    with reading() as session:
        assert gone.owners(session) == [LOCAL_OWNER]
        assert backlog.needed_blobs(session) == {"b.txt".ljust(64, "0")}


def test_a_file_that_came_back_in_an_import_counts_with_our_own(database: str) -> None:
    """What the source says about attachments does not hide the file that was added here."""
    with transaction() as session:
        given = factories.imported(has_attachments=False)
        conversation_id = conversations.upsert(session, LOCAL_OWNER, *given).conversation_id
    file_id = add(conversation_id)
    with transaction() as session:
        conversations.upsert(session, LOCAL_OWNER, *factories.imported(version="2", has_attachments=False))
    assert factories.all_conversations()[0].has_attachments is True
    with transaction() as session:
        files.remove(session, file_id, LOCAL_OWNER)
        conversations.upsert(session, LOCAL_OWNER, *factories.imported(version="3", has_attachments=False))
    assert factories.all_conversations()[0].has_attachments is False


def test_attachments_of_messages_count(database: str) -> None:
    row = factories.imported_message("m", None, 0, "look", parts={"attachments": [{"name": "a.png"}]})
    about = factories.imported_conversation("c", [row], has_attachments=True)
    with transaction() as session:
        conversation_id = conversations.upsert(session, LOCAL_OWNER, about, [row]).conversation_id
    file_id = add(conversation_id)
    with transaction() as session:
        files.remove(session, file_id, LOCAL_OWNER)
    assert factories.all_conversations()[0].has_attachments is True
    with transaction() as session:
        messages.clear(session, conversation_id)
    assert factories.all_conversations()[0].has_attachments is False


def test_a_key_is_claimed_once(database: str) -> None:
    later = utcnow() + timedelta(hours=1)
    with transaction() as session:
        assert gone.claim_object(session, "k", later)
        assert not gone.claim_object(session, "k", later)
        assert gone.objects(session, 10) == []
        gone.note_object(session, "k")
        assert gone.objects(session, 10) == ["k"]
        assert gone.keep_object(session, "k")
        assert not gone.keep_object(session, "k")
    add(factories.conversation(), s3_key="k")
    with transaction() as session:
        assert not gone.claim_object(session, "k", later)
        assert gone.claim_object(session, "other", later)


def test_two_that_claim_at_once(database: str) -> None:
    def claim() -> bool:
        with transaction() as session:
            return gone.claim_object(session, "k", utcnow())

    assert sorted(factories.at_once(claim, claim, claim)) == [False, False, True]


def test_deleted_by_two_at_once(database: str) -> None:
    conversation_id = factories.conversation()
    file_id = add(conversation_id)
    chunk(conversation_id, file_id, "c")

    def remove_file() -> str:
        try:
            with transaction() as session:
                files.remove(session, file_id, LOCAL_OWNER)
        except NotFound:
            return "not there"
        return "removed"

    def remove_all() -> str:
        with transaction() as session:
            conversations.remove(session, conversation_id, LOCAL_OWNER)
        return "removed"

    done = factories.at_once(remove_file, remove_all)
    assert done[1] == "removed"
    assert owed()[0] == [("m#1", "c")]
    with reading() as session:
        assert session.get(FileAttachment, file_id) is None
