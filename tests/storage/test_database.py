"""Transactions: all or nothing, calls after the commit, writers that take turns."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlmodel import Session, col

from storage import conversations
from storage.database import after_commit, is_away, is_duplicate, reading, transaction
from storage.tables import LOCAL_OWNER, Conversation, User
from tests import factories


class Broken(Exception):
    pass


def count(session: Session) -> int:
    return session.execute(select(func.count()).select_from(Conversation)).scalar_one()


def test_a_transaction_commits_at_its_end(database: str) -> None:
    factories.conversation()
    assert len(factories.all_conversations()) == 1


def test_an_error_rolls_everything_back(database: str) -> None:
    def fail() -> None:
        with transaction() as session:
            conversations.create(session, LOCAL_OWNER)
            raise Broken

    with pytest.raises(Broken):
        fail()
    assert factories.all_conversations() == []


def test_calls_run_in_order_once_the_rows_are_there(database: str) -> None:
    seen: list[tuple[str, int]] = []

    def look(name: str) -> None:
        with reading() as session:
            seen.append((name, count(session)))

    with transaction() as session:
        after_commit(session, lambda: look("first"))
        conversations.create(session, LOCAL_OWNER)
        after_commit(session, lambda: look("second"))
        assert seen == []
    assert seen == [("first", 1), ("second", 1)]


def test_a_rollback_forgets_the_calls_for_good(database: str) -> None:
    called: list[str] = []

    def fail() -> None:
        with transaction() as session:
            after_commit(session, lambda: called.append("rolled back"))
            raise Broken

    with pytest.raises(Broken):
        fail()
    with transaction() as session:
        after_commit(session, lambda: called.append("committed"))
    with transaction():
        pass
    assert called == ["committed"]


def test_a_refused_commit_forgets_the_calls_too(database: str) -> None:
    called: list[str] = []

    def fail() -> None:
        with transaction() as session:
            after_commit(session, lambda: called.append("never"))
            session.add(User(id=LOCAL_OWNER, name="twice"))

    with pytest.raises(IntegrityError) as caught:
        fail()
    assert is_duplicate(caught.value)
    assert called == []


def test_what_a_reader_changes_is_not_kept(database: str) -> None:
    with reading() as session:
        conversations.create(session, LOCAL_OWNER)
    assert factories.all_conversations() == []


def test_readers_never_see_half_a_transaction(database: str) -> None:
    """Conversations are made and renamed in pairs; whoever looks sees pairs of one name."""
    stop = threading.Event()
    odd: list[object] = []

    def read() -> None:
        while not stop.is_set():
            with reading() as session:
                titles = list(session.execute(select(col(Conversation.title))).scalars())
            if len(titles) % 2 or len(set(titles)) > 1:
                odd.append(titles)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(20):
        with transaction() as session:
            for _ in range(2):
                conversations.create(session, LOCAL_OWNER)
            session.execute(update(Conversation).values(title=f"name {number}"))
    stop.set()
    for reader in readers:
        reader.join()
    assert odd == []


def test_eight_writers_take_turns(database: str) -> None:
    """A deferred transaction on SQLite that reads, then writes, would raise `database is locked` at once."""

    def raise_version() -> None:
        for _ in range(10):
            with transaction() as session:
                row = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
                row.content_version += 1
                session.add(row)

    conversation_id = factories.conversation()
    factories.at_once(*[raise_version] * 8)
    assert factories.all_conversations()[0].content_version == 1 + 80


def test_a_reader_does_not_keep_a_writer_waiting(database: str) -> None:
    with reading() as session:
        assert count(session) == 0
        factories.conversation()
        assert count(session) == (0 if database == "sqlite" else 1)  # a snapshot there, the latest commit here


def test_errors_are_told_apart(database: str) -> None:
    with pytest.raises(IntegrityError) as missing, transaction() as session:
        conversations.create(session, "no such owner")
    assert not is_duplicate(missing.value)
    assert not is_away(missing.value)

    with pytest.raises((OperationalError, ProgrammingError)) as unknown, reading() as session:
        session.execute(select(func.no_such_function()))
    assert not is_away(unknown.value)
    assert not is_duplicate(ValueError("no"))


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_deadlock_is_worth_another_try(database: str) -> None:
    """Two writers that meet crosswise: the database sacrifices one of them, and that one may try again."""
    first, second = factories.conversation(), factories.conversation()
    met = threading.Barrier(2)

    def lock(one: str, other: str) -> bool:
        try:
            with transaction() as session:
                conversations.get(session, one, LOCAL_OWNER, lock=True)
                met.wait()
                conversations.get(session, other, LOCAL_OWNER, lock=True)
        except OperationalError as error:
            return is_away(error)
        return False

    assert sorted(factories.at_once(lambda: lock(first, second), lambda: lock(second, first))) == [False, True]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_lost_connection_counts_as_away(database: str) -> None:
    with reading() as session:
        mine = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with reading() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
        with pytest.raises(OperationalError) as caught:
            session.execute(select(func.now()))
    assert is_away(caught.value)
    factories.conversation()  # the pool has noticed
