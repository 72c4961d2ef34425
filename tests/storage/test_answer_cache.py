"""Answers kept for a while: for their owner alone, bounded, and gone when something was deleted."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as many
from hypothesis import strategies as st

from config.settings import reset_settings
from storage import answer_cache
from storage.answer_cache import Ticket, find, flush, put, stats
from storage.connections import close_clients, redis_client
from storage.database import transaction

pytestmark = pytest.mark.usefixtures("clean_redis", "settings")
ANSWER = {"content": "Forty two.", "finish_reason": "stop"}


def ticket(owner_id: str = "a", key: str = "k") -> Ticket:
    found, ticket = find(owner_id, key)
    assert found is None
    assert ticket is not None
    return ticket


def keep(owner_id: str = "a", key: str = "k", answer: dict[str, Any] = ANSWER) -> None:
    assert put(ticket(owner_id, key), answer)


def size() -> int:
    return sum(len(value) for value in redis_client().hgetall(answer_cache.VALUES).values())


def test_an_answer_is_found_again() -> None:
    keep()
    assert find("a", "k") == (ANSWER, None)


def test_it_is_its_owners_alone() -> None:
    keep()
    assert find("b", "k")[0] is None
    assert find("a:k", "k")[0] is None


def test_an_owner_whose_name_begins_alike_is_another() -> None:
    keep("a")
    keep("ab")
    assert flush("a") == 1
    assert find("ab", "k")[0] == ANSWER


def test_it_ends(settings: pytest.MonkeyPatch) -> None:
    import time

    keep()
    later = time.time() + 24 * 3600 + 1
    settings.setattr(answer_cache.time, "time", lambda: later)
    assert find("a", "k")[0] is None
    assert stats().items() >= {"entries": 0, "bytes": 0}.items()
    assert redis_client().hlen(answer_cache.VALUES) == 0


def test_nothing_stays_in_redis_for_ever() -> None:
    keep()
    for key in (answer_cache.VALUES, answer_cache.ENDS):
        assert 0 < redis_client().ttl(key) <= 24 * 3600


def test_the_oldest_go_first(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("ANSWER_CACHE_MB", "1")
    reset_settings()
    big = {"content": os.urandom(100_000).hex()}
    for number in range(8):
        keep(key=str(number), answer=big)
    held = [number for number in range(8) if find("a", str(number))[0] is not None]
    assert held == list(range(8 - len(held), 8))
    assert 0 < len(held) <= 5
    assert stats()["bytes"] == size() <= 2**20


def test_an_endless_answer_is_not_kept() -> None:
    assert put(ticket(), {"content": "x" * answer_cache.MAX_BYTES}) is False


def test_what_was_begun_before_a_flush_is_not_kept() -> None:
    before, others = ticket("a"), ticket("b")
    flush("a")
    assert put(before, ANSWER) is False
    assert put(others, ANSWER) is True
    late = ticket("c")
    flush()
    assert put(late, ANSWER) is False
    assert put(ticket("b"), ANSWER) is True


def test_an_emptied_redis_makes_nothing_of_old_tickets_after_a_flush() -> None:
    flush("a")
    old = ticket("a")
    redis_client().flushall()
    assert put(old, ANSWER) is False


def test_a_deletion_flushes_when_it_is_committed(sqlite: str) -> None:
    keep()
    with suppress(RuntimeError), transaction() as session:
        answer_cache.forget_after_commit(session, "a")
        raise RuntimeError
    assert find("a", "k")[0] == ANSWER
    with transaction() as session:
        answer_cache.forget_after_commit(session, "a")
    assert find("a", "k")[0] is None


def test_hits_and_misses_are_counted() -> None:
    assert stats()["hit_rate"] is None
    keep()
    find("a", "k")
    find("a", "k")
    assert stats().items() >= {"hits": 2, "misses": 1, "hit_rate": 0.6667, "entries": 1, "bytes": size()}.items()


def test_switched_off_there_is_none(settings: pytest.MonkeyPatch) -> None:
    keep()
    settings.setenv("ENABLE_CACHE", "false")
    reset_settings()
    assert find("a", "k") == (None, None)
    assert stats()["enabled"] is False


def test_without_redis_there_is_none(settings: pytest.MonkeyPatch, sqlite: str) -> None:
    kept = ticket()
    close_clients()
    settings.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
    reset_settings()
    assert find("a", "k") == (None, None)
    assert put(kept, ANSWER) is False
    with transaction() as session:
        answer_cache.forget_after_commit(session, "a")
    close_clients()


@many(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["put", "flush", "all"]), st.sampled_from("ab"), st.integers(0, 3))))
def test_it_holds_what_was_put_since_the_last_flush(steps: list[tuple[str, str, int]]) -> None:
    redis_client().flushall()
    expected: dict[tuple[str, str], dict[str, Any]] = {}
    for number, (what, owner, place) in enumerate(steps):
        if what == "put":
            found, free = find(owner, str(place))
            assert found == expected.get((owner, str(place)))
            if free is not None:
                answer = {"content": "x" * number}
                assert put(free, answer)
                expected[owner, str(place)] = answer
        else:
            gone = [key for key in expected if what == "all" or key[0] == owner]
            assert flush(None if what == "all" else owner) == len(gone)
            for key in gone:
                del expected[key]
    assert (stats()["entries"], stats()["bytes"]) == (len(expected), size())
