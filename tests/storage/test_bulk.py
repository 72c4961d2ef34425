"""Rows written in bulk are what SQLAlchemy would have written, to the byte."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, delete, insert, text
from sqlalchemy.exc import StatementError

from storage import bulk
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER, Conversation, Message
from tests import factories
from tests.factories import JANUARY

_messages: Table = Message.__table__  # type: ignore[attr-defined]
_AS_STORED = text("SELECT * FROM message")  # past every type of ours
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(0))])
_TIMES = st.none() | st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=_ZONES)
_ROWS = st.fixed_dictionaries(
    {
        "native_id": st.just("n"),
        "position": st.integers(0, 2**31 - 1),
        "role": st.sampled_from(["user", "assistant"]),
        "content": _TEXT,
        "parts": st.dictionaries(_TEXT, _JSON, max_size=3),
        "created_at": _TIMES,
    },
    optional={
        "on_path": st.booleans(),
        "visibility": st.just("hidden"),
        "author_name": st.none() | _TEXT,
        "sources": st.none() | st.lists(st.dictionaries(_TEXT, _JSON, max_size=2), max_size=2),
        "prompt_tokens": st.none() | st.integers(0, 2**31 - 1),
    },
)


def stored(conversation_id: str, rows: list[dict[str, Any]], *, in_bulk: bool) -> list[Any]:
    """As the database has them, without a trace left."""
    given = [
        row | {"id": str(at), "native_id": str(at), "conversation_id": conversation_id} for at, row in enumerate(rows)
    ]
    with transaction() as session:
        session.execute(delete(_messages))
        if in_bulk:
            bulk.insert(session, _messages, given)
        else:
            for row in given:
                session.execute(insert(_messages), row)
        return sorted(map(tuple, session.execute(_AS_STORED)), key=str)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_ROWS, max_size=4))
def test_it_writes_what_sqlalchemy_writes(database: str, rows: list[dict[str, Any]]) -> None:
    conversation_id = only_conversation()
    assert stored(conversation_id, rows, in_bulk=True) == stored(conversation_id, rows, in_bulk=False)


def only_conversation() -> str:
    here = factories.all_conversations()
    return here[0].id if here else factories.conversation()


def test_no_rows_are_no_statement(database: str) -> None:
    with transaction() as session:
        bulk.insert(session, _messages, [])
        bulk.insert(session, _messages, iter(()))


def test_what_waits_in_the_session_is_written_first(database: str) -> None:
    row = {"id": "m", "native_id": "m", "position": 0, "role": "user", "content": "hello", "parts": {}}
    with transaction() as session:
        session.add(Conversation(id="c", owner_id=LOCAL_OWNER, native_id="c", title="Waiting"))
        bulk.insert(session, _messages, [row | {"conversation_id": "c"}])
    assert factories.shown("c") == ["hello"]


def test_a_time_without_a_zone_is_refused(database: str) -> None:
    conversation_id = factories.conversation()
    row = {"id": "m", "native_id": "m", "position": 0, "role": "user", "content": "x", "parts": {}}
    naive = row | {"conversation_id": conversation_id, "created_at": JANUARY.replace(tzinfo=None)}
    with pytest.raises((ValueError, StatementError), match="naive"), transaction() as session:
        bulk.insert(session, _messages, [naive])
    with reading() as session:
        assert session.execute(_AS_STORED).all() == []
