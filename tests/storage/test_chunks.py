"""Passages: found by their owner, gone with their conversation or message."""

from __future__ import annotations

from storage import chunks, conversations
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER, utcnow
from tests import factories


def chunk(conversation_id: str, chunk_id: str) -> str:
    message = factories.question(conversation_id, "some words")
    row = {"id": chunk_id, "conversation_id": conversation_id, "message_id": message.id, "start": 0, "end": 10}
    with transaction() as session:
        chunks.add(session, [row | {"text": "some words", "embedding_model": "m", "created_at": utcnow()}])
    return chunk_id


def test_chunks_are_loaded_with_what_they_belong_to(database: str) -> None:
    conversation_id = factories.conversation(title="A title")
    chunk(conversation_id, "one")
    with reading() as session:
        found = chunks.load(session, LOCAL_OWNER, ["one", "unknown"])
        assert chunks.ids_of(session, conversation_id, "m") == {"one"}
        assert chunks.count(session) == 1
    assert list(found) == ["one"]
    about = found["one"]
    assert (about.text, about.conversation_id, about.conversation_title) == ("some words", conversation_id, "A title")
    assert (about.kind, about.role) == ("message", "user")
    assert about.message_id == about.about


def test_chunks_of_others_are_not_found(database: str) -> None:
    chunk(factories.conversation(), "mine")
    with reading() as session:
        assert chunks.load(session, factories.owner(), ["mine"]) == {}


def test_chunks_of_a_deleted_message_or_conversation_are_not_found(database: str) -> None:
    from storage import messages

    cleared, removed = factories.conversation(), factories.conversation()
    chunk(cleared, "a")
    chunk(removed, "b")
    with transaction() as session:
        messages.clear(session, cleared)
        conversations.remove(session, removed, LOCAL_OWNER)
    with reading() as session:
        assert chunks.load(session, LOCAL_OWNER, ["a", "b"]) == {}
        assert chunks.ids_of(session, removed, "m") == set()


def test_where_chunks_belong_is_told_to_their_owner(database: str) -> None:
    conversation_id = factories.conversation(title="A title")
    chunk(conversation_id, "one")
    with reading() as session:
        assert chunks.places(session, LOCAL_OWNER, ["one", "unknown"]) == {"one": (conversation_id, "A title")}
        assert chunks.places(session, factories.owner(), ["one"]) == chunks.places(session, LOCAL_OWNER, []) == {}
        assert chunks.texts(session, ["one", "unknown"]) == {"one": "some words"}
        assert chunks.texts(session, []) == {}


def test_removing_and_adding_nothing_is_allowed(database: str) -> None:
    conversation_id = factories.conversation()
    chunk(conversation_id, "a")
    chunk(conversation_id, "b")
    with transaction() as session:
        chunks.add(session, [])
        chunks.remove(session, [])
        chunks.remove(session, {"a", "unknown"})
    with reading() as session:
        assert chunks.ids_of(session, conversation_id, "m") == {"b"}
