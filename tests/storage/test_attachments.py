"""Files belong to the question that was asked after they were brought, on both databases."""

from __future__ import annotations

import pytest

from config.queues import Kind
from storage import attachments, conversations, files, messages, questions
from storage.database import reading, transaction
from storage.project_tables import FileAttachment
from storage.tables import LOCAL_OWNER, Message
from tests import factories

pytestmark = pytest.mark.usefixtures("clean_redis")


def bring(conversation_id: str, name: str) -> str:
    given = {"filename": name, "file_size": 4, "file_type": "text/plain", "digest": name.ljust(64, "0")}
    with transaction() as session:
        return files.add(session, conversations.get(session, conversation_id, LOCAL_OWNER, lock=True), **given).id


def ask(conversation_id: str | None) -> Message:
    with transaction() as session:
        return questions.ask(session, LOCAL_OWNER, "What is it?", conversation_id, {})[0]


def brought(*questions: Message) -> list[list[str]]:
    with reading() as session:
        found = attachments.of_messages(session, [question.id for question in questions])
        return [[file.filename for file in found.get(question.id, [])] for question in questions]


def test_each_question_has_what_came_since_the_last_one(database: str) -> None:
    here, elsewhere = factories.conversation(), factories.conversation()
    bring(elsewhere, "x.txt")
    bring(here, "b.txt")
    bring(here, "a.txt")
    first = ask(here)
    second = ask(here)
    bring(here, "c.txt")
    third = ask(here)
    assert brought(first, second, third) == [["b.txt", "a.txt"], [], ["c.txt"]]
    assert [one["name"] for one in first.parts["attachments"]] == ["b.txt", "a.txt"]
    assert "attachments" not in second.parts
    assert brought(ask(elsewhere)) == [["x.txt"]]


def test_the_current_session_has_its_files(database: str) -> None:
    with transaction() as session:
        conversation_id = questions.current(session, LOCAL_OWNER).id
    bring(conversation_id, "a.txt")
    assert brought(ask(None)) == [["a.txt"]]


def test_what_is_left_after_the_history_was_cleared_belongs_to_the_next_question(database: str) -> None:
    conversation_id = factories.conversation()
    bring(conversation_id, "a.txt")
    ask(conversation_id)
    with transaction() as session:
        messages.clear(session, conversation_id)
    assert brought(ask(conversation_id)) == [["a.txt"]]


def test_questions_at_the_same_time_have_a_file_once(database: str) -> None:
    conversation_id = factories.conversation()
    for number in range(3):
        bring(conversation_id, f"{number}.txt")
    asked = factories.at_once(*[lambda: ask(conversation_id)] * 4)
    assert sorted(brought(*asked)) == [[], [], [], ["0.txt", "1.txt", "2.txt"]]


def test_a_file_is_being_read_until_its_job_is_over(database: str) -> None:
    file_id = bring(factories.conversation(), "a.txt")

    def is_being_read() -> bool:
        with reading() as session:
            assert session.get(FileAttachment, file_id) is not None
            return attachments.are_being_read(session, [file_id])

    assert not is_being_read()
    job_id = factories.job(Kind.EXTRACT, input={"file_id": file_id}, serial_key=files.serial_key(file_id))
    assert is_being_read()
    factories.claim(job_id)
    assert is_being_read()
    factories.finish(job_id)
    assert not is_being_read()
