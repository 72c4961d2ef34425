"""Titles on both databases: which are near, and what goes with its conversation."""

from __future__ import annotations

import pytest

from storage import conversations
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from storage.titles import near_titles

pytestmark = pytest.mark.usefixtures("database")


def titled(title: str) -> str:
    with transaction() as session:
        return conversations.create(session, LOCAL_OWNER, title).id


def near(wanted: str) -> list[str]:
    with reading() as session:
        return [conversation_id for conversation_id, _ in near_titles(session, LOCAL_OWNER, wanted, 10)]


def test_mistyped_titles_are_found() -> None:
    here = titled("Kubernetes deployment checklist")
    titled("Sourdough bread")
    assert near("kubernets deploymnt") == [here]
    assert near("breakfast on Mars") == []
    assert near("ab") == []


def test_a_new_title_is_found_and_the_old_one_is_not() -> None:
    here = titled("First name of it")
    with transaction() as session:
        conversations.rename(session, conversations.get(session, here, LOCAL_OWNER), "Quite another subject")
    assert near("another subject") == [here]
    assert near("first name of it") == []
    with transaction() as session:
        conversations.remove(session, here, LOCAL_OWNER)
    assert near("another subject") == []
