"""Questions and answers of one conversation, in the order a person reads them."""

from __future__ import annotations

import pytest

from config.errors import Conflict
from storage import messages
from storage.database import reading, transaction
from storage.ids import new_id
from storage.tables import Message
from tests import factories
from tests.factories import question, shown


def answer(to: Message, text: str, **values: object) -> str:
    with transaction() as session:
        return messages.add_answer(session, to, text, message_id=new_id(), **values).id


def test_an_answer_follows_its_question(database: str) -> None:
    conversation_id = factories.conversation()
    asked = question(conversation_id, "q1")
    answer_id = answer(asked, "a1", model="m", completion_tokens=3, sources=[{"score": 1.0}], job_id="j")
    assert shown(conversation_id) == ["q1", "a1"]
    _, said = factories.all_messages(conversation_id)
    assert (said.id, said.parent_id, said.role, said.model) == (answer_id, asked.id, "assistant", "m")
    assert (said.sources, said.completion_tokens, said.job_id) == ([{"score": 1.0}], 3, "j")
    assert said.created_at is not None


def test_answers_stand_behind_their_questions_however_late_they_come(database: str) -> None:
    conversation_id = factories.conversation()
    first, second, third = (question(conversation_id, f"q{number}") for number in (1, 2, 3))
    answer(first, "a1")
    answer(third, "a3")
    answer(second, "a2")
    assert shown(conversation_id) == ["q1", "a1", "q2", "a2", "q3", "a3"]
    rows = factories.all_messages(conversation_id)
    assert [row.parent_id for row in rows] == [None, *(row.id for row in rows[:-1])]
    assert [row.position for row in rows] == list(range(6))


def test_a_model_is_given_what_was_said_before_its_question(database: str) -> None:
    conversation_id = factories.conversation()
    first, second = question(conversation_id, "q1"), question(conversation_id, "q2")
    answer(first, "a1")
    with reading() as session:
        asked = messages.get(session, second.id)
        assert asked is not None
        assert [row.content for row in messages.before(session, asked)] == ["q1", "a1", "q2"]
        early = messages.get(session, first.id)
        assert early is not None
        assert [row.content for row in messages.before(session, early)] == ["q1"]


def test_questions_at_once_get_places_of_their_own(database: str) -> None:
    conversation_id = factories.conversation()
    factories.at_once(*(lambda text=f"q{number}": question(conversation_id, text) for number in range(6)))
    rows = factories.all_messages(conversation_id)
    assert [row.position for row in rows] == list(range(6))
    assert [row.parent_id for row in rows] == [None, *(row.id for row in rows[:-1])]


def test_an_answer_to_a_question_that_was_deleted_says_so(database: str) -> None:
    conversation_id = factories.conversation()
    asked = question(conversation_id)
    with transaction() as session:
        assert messages.clear(session, conversation_id) == 1
    with pytest.raises(Conflict, match="deleted"):
        answer(asked, "too late")
    assert shown(conversation_id) == []


def test_the_latest_are_shown_oldest_first(database: str) -> None:
    conversation_id = factories.conversation()
    for number in range(5):
        question(conversation_id, str(number))
    with reading() as session:
        rows, total = messages.latest(session, conversation_id, 2)
    assert ([row.content for row in rows], total) == (["3", "4"], 5)


def test_what_is_not_shown_is_in_the_tree_only(database: str) -> None:
    conversation_id = factories.conversation()
    visible, hidden, aside = (question(conversation_id, text) for text in ("visible", "hidden", "aside"))
    with transaction() as session:
        session.get_one(Message, hidden.id).visibility = "reasoning"
        session.get_one(Message, aside.id).on_path = False
    assert shown(conversation_id) == ["visible"]
    with reading() as session:
        assert [row.content for row in messages.path(session, conversation_id, visible_only=False)] == [
            "visible",
            "hidden",
        ]
        assert [row.id for row in messages.tree(session, conversation_id)] == [visible.id, hidden.id, aside.id]
        assert messages.latest(session, conversation_id, 5)[1] == 1
    later = question(conversation_id, "later")
    assert (later.parent_id, later.position) == (hidden.id, 3)


def test_clear_is_for_one_conversation(database: str) -> None:
    first, second = factories.conversation(), factories.conversation()
    question(first)
    question(second)
    with transaction() as session:
        assert messages.clear(session, first) == 1
        assert messages.clear(session, first) == 0
    assert shown(second) == ["Why?"]
