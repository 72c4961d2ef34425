"""Spoken messages: what is noted with them, and answers that were stopped."""

from __future__ import annotations

import pytest

from config.queues import Kind
from storage import conversations, files, messages, questions, spoken
from storage.database import reading, transaction
from storage.ids import new_id
from storage.tables import Message
from tests import factories

pytestmark = pytest.mark.usefixtures("database")


def asked(text: str = "What is it?") -> tuple[str, str, str]:
    """(owner, conversation, question)."""
    owner_id = factories.owner()
    with transaction() as session:
        question, new = questions.ask(session, owner_id, text, None, {}, Kind.VOICE_REPLY)
        assert new.kind is Kind.VOICE_REPLY
        return owner_id, question.conversation_id, question.id


def shown(conversation_id: str) -> list[Message]:
    with reading() as session:
        return messages.path(session, conversation_id)


def test_what_is_noted_stays_beside_what_was_there() -> None:
    _, conversation_id, question_id = asked()
    with transaction() as session:
        spoken.note(session, question_id, emotion={"primary_emotion": "joy"})
        spoken.note(session, question_id, voice={"duration_ms": 10})
        spoken.note(session, new_id(), voice={})  # one that is gone
    (question,) = shown(conversation_id)
    assert spoken.of(question) == {"duration_ms": 10}
    assert question.parts["emotion"] == {"primary_emotion": "joy"}


def test_its_sound_is_a_file_of_the_conversation() -> None:
    owner_id, conversation_id, question_id = asked()
    with transaction() as session:
        file_id = spoken.add_audio(session, conversation_id, question_id, "spoken.wav", "0" * 64, 44)
        assert spoken.add_audio(session, new_id(), question_id, "spoken.wav", "0" * 64, 44) is None
    assert file_id is not None
    with reading() as session:
        file = files.get(session, file_id, owner_id)
        assert (file.message_id, file.file_type, file.conversation_id) == (question_id, "audio/wav", conversation_id)
        assert "0" * 64 in files.digests_on_disk(session)
    with transaction() as session:
        conversations.remove(session, conversation_id, owner_id)
    with reading() as session:
        assert files.find(session, file_id) is None


def test_an_answer_that_was_written_is_cut() -> None:
    _, conversation_id, question_id = asked()
    job_id = factories.job(Kind.VOICE_REPLY)
    with transaction() as session:
        question = messages.get(session, question_id)
        assert question is not None
        messages.add_answer(session, question, "One. Two. Three.", message_id=new_id(), job_id=job_id, model="m")
        before = conversations.find(session, conversation_id, question_owner(conversation_id))
        assert before is not None
        version = before.content_version
    for _ in range(2):  # the second changes nothing
        with transaction() as session:
            cut_id = spoken.cut_answer(session, question_id, job_id, "One.", "m")
    question_row, answer = shown(conversation_id)
    assert (answer.id, answer.content, question_row.id) == (cut_id, "One.", question_id)
    with reading() as session:
        after = conversations.find(session, conversation_id, question_owner(conversation_id))
        assert after is not None
        assert after.content_version == version + 1  # the index follows


def test_an_answer_that_never_came_to_be_written() -> None:
    _, conversation_id, question_id = asked()
    job_id = factories.job(Kind.VOICE_REPLY)
    with transaction() as session:
        cut_id = spoken.cut_answer(session, question_id, job_id, "One", "m")
        assert spoken.cut_answer(session, new_id(), job_id, "One", "m") is None
    assert [(row.role, row.content, row.id) for row in shown(conversation_id)][1] == ("assistant", "One", cut_id)


def question_owner(conversation_id: str) -> str:
    from storage.tables import Conversation

    with reading() as session:
        row = session.get(Conversation, conversation_id)
        assert row is not None
        return row.owner_id
