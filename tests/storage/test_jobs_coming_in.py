"""The ledger's way in: idempotency, bounded queues."""

from __future__ import annotations

import pytest

from config.errors import QueueFull, Unusable
from config.queues import Kind
from config.settings import reset_settings
from storage import jobs
from storage.database import DatabaseError, is_duplicate, transaction
from storage.jobs import NewJob
from storage.tables import LOCAL_OWNER
from tests import factories


def accept(key: str, body: object, owner_id: str = LOCAL_OWNER) -> str:
    """What a request with an Idempotency-Key does."""
    request_hash = jobs.hash_request("POST", "/api/jobs", body)
    with transaction() as session:
        earlier = jobs.find_idempotent(session, owner_id, key, request_hash)
        new = NewJob(Kind.NOOP, owner_id, idempotency_key=key, request_hash=request_hash)
        return (earlier or jobs.add(session, new)).id


def test_the_same_key_and_body_is_the_same_job(database: str) -> None:
    first = accept("k", {"a": 1, "b": 2})
    assert accept("k", {"b": 2, "a": 1}) == first
    assert accept("another key", {"a": 1, "b": 2}) != first


def test_the_same_key_with_another_body_is_refused(database: str) -> None:
    accept("k", {"a": 1})
    with pytest.raises(Unusable, match="different request"):
        accept("k", {"a": 2})


def test_keys_belong_to_their_owner(database: str) -> None:
    assert accept("k", {"a": 1}) != accept("k", {"a": 2}, factories.owner())


def test_jobs_without_a_key_do_not_collide(database: str) -> None:
    assert factories.job() != factories.job()


def test_the_same_key_twice_at_once_makes_one_job(database: str) -> None:
    """One of the two may meet the unique index; asked again, it finds the other's job."""

    def once_or_again() -> str:
        try:
            return accept("k", {"a": 1})
        except DatabaseError as error:
            if not is_duplicate(error):
                raise
            return accept("k", {"a": 1})

    ids = factories.at_once(*[once_or_again] * 6)
    assert len(set(ids)) == 1
    assert len(factories.all_jobs()) == 1


def test_a_full_queue_refuses_and_says_when_to_come_back(database: str, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("QUEUE_LIMIT", "3")
    reset_settings()
    for _ in range(3):
        _check("noop")
        factories.job()
    with pytest.raises(QueueFull, match="queue is full") as caught:
        _check("noop")
    assert caught.value.status == 429
    assert caught.value.headers["Retry-After"].isdigit()
    _check("chat")


def test_running_jobs_take_no_room(database: str, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("QUEUE_LIMIT", "1")
    reset_settings()
    factories.running()
    _check("noop")


def test_one_owner_cannot_fill_the_queue_of_all(database: str, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("OWNER_QUEUE_LIMIT", "2")
    reset_settings()
    other = factories.owner()
    for _ in range(2):
        factories.job()
    with pytest.raises(QueueFull, match="2 jobs waiting"):
        _check("noop")
    _check("noop", other)


def _check(queue: str, owner_id: str = LOCAL_OWNER) -> None:
    with transaction() as session:
        jobs.check_room(session, queue, owner_id)
