"""Figures from rows, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from config.queues import Kind
from storage import messages, stats, users
from storage.database import reading, transaction
from storage.ids import new_id
from storage.tables import LOCAL_OWNER, utcnow
from tests import factories

pytestmark = pytest.mark.usefixtures("database")


def answer(conversation_id: str, tokens: int | None, ms: int | None) -> None:
    question = factories.question(conversation_id)
    with transaction() as session:
        messages.add_answer(
            session, question, "x", message_id=new_id(), completion_tokens=tokens, response_ms=ms, prompt_tokens=3
        )


def of_session() -> stats.SessionStats:
    with reading() as session:
        return stats.of_session(session, users.get(session, LOCAL_OWNER))


def test_a_session() -> None:
    conversation_id = factories.conversation()
    with transaction() as session:
        users.set_current_conversation(session, LOCAL_OWNER, conversation_id)
    answer(conversation_id, 10, 1000)
    answer(conversation_id, 20, 2001)
    answer(conversation_id, None, None)
    answer(factories.conversation(), 500, 1)
    told = of_session()
    assert (told.answers, told.tokens, told.mean_response_ms) == (3, 30, 1500.5)
    assert told.started_at < told.last_activity <= utcnow()
    with transaction() as session:
        users.set_stats_since(session, LOCAL_OWNER, utcnow())
    told = of_session()
    assert (told.answers, told.tokens, told.mean_response_ms, told.session_id) == (0, 0, 0.0, conversation_id)
    answer(conversation_id, 7, 70)
    assert of_session().tokens == 7


def test_ids_of_a_moment() -> None:
    moment = datetime.now(UTC)
    assert stats.first_id(moment - timedelta(milliseconds=2)) < new_id() < stats.first_id(moment + timedelta(seconds=9))
    assert len(stats.first_id(moment)) == len(new_id())
    assert stats.first_id(datetime(1960, 1, 1, tzinfo=UTC)) < stats.first_id(moment)


def test_who_is_talking() -> None:
    ids = [factories.conversation() for _ in range(3)]
    for conversation_id in (ids[0], ids[0], ids[1]):
        factories.job(Kind.CHAT, conversation_id=conversation_id)
    factories.job(Kind.SUMMARIZE, conversation_id=ids[2])
    with reading() as session:
        assert stats.count_talking(session, 60) == 2
        assert stats.count_talking(session, -60) == 0


def test_counts() -> None:
    conversation_id = factories.conversation()
    factories.question(conversation_id)
    factories.job()
    factories.running()
    with reading() as session:
        assert stats.count_messages(session, [conversation_id, "nobody"]) == {conversation_id: 1}
        assert stats.count_jobs(session) == {"noop": {"queued": 1, "running": 1}}
        assert stats.count_sessions(session) == {"count": 1, "users": 1}
        assert stats.count_tokens(session) == {"answers": 0, "prompt": 0, "completion": 0}
        assert stats.latest_ends(session, 10) == []
