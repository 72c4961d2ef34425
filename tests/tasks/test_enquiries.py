"""The index worker's threads that answer enquiries: whatever comes, whoever asked is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from config.errors import Unavailable
from storage import enquiries
from storage.enquiries import ASKED
from tasks.enquiries import ANSWERS, Answering

TIMEOUT_S = 4.0


@pytest.fixture
def answering(clean_redis: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    def fail(asked: dict[str, Any]) -> None:
        raise Unavailable("Not now.") if asked["expected"] else RuntimeError("/secret")

    monkeypatch.setitem(ANSWERS, "echo", lambda asked: asked)
    monkeypatch.setitem(ANSWERS, "fail", fail)
    answering = Answering("index", 2)
    answering.start()
    yield answering
    answering.finish()


def test_enquiries_are_answered_beside_each_other(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    met = threading.Barrier(2)

    def meet(asked: dict[str, Any]) -> int:
        met.wait(TIMEOUT_S)
        return int(asked["number"])

    monkeypatch.setitem(ANSWERS, "meet", meet)
    found: list[int] = []
    askers = [
        threading.Thread(target=lambda at=at: found.append(enquiries.ask("meet", {"number": at}, TIMEOUT_S)))
        for at in range(2)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(found) == [0, 1]


@pytest.mark.parametrize(("expected", "told"), [(True, "Not now"), (False, "failed inside")])
def test_a_failure_is_told_without_its_inside(answering: Answering, expected: bool, told: str) -> None:
    with pytest.raises(Unavailable, match=told) as caught:
        enquiries.ask("fail", {"expected": expected}, TIMEOUT_S)
    assert "secret" not in caught.value.detail
    assert caught.value.retryable
    with pytest.raises(Unavailable, match="failed inside"):
        enquiries.ask("nobody answers this", {}, TIMEOUT_S)


def test_what_is_no_enquiry_does_no_harm(answering: Answering, clean_redis: str) -> None:
    redis.Redis.from_url(clean_redis).rpush(ASKED, b"{", b'{"a": 1}', b"[1]", b"\xff")
    assert enquiries.ask("echo", {"still": "there"}, TIMEOUT_S) == {"still": "there"}


def test_an_emptied_redis_and_broken_connections_are_survived(answering: Answering, clean_redis: str) -> None:
    broker = redis.Redis.from_url(clean_redis)
    for _ in range(3):
        broker.flushall()
        broker.client_kill_filter(_type="normal", skipme=True)
        assert enquiries.ask("echo", {}, TIMEOUT_S) == {}


def test_who_stops_answers_what_was_taken_and_takes_nothing_more(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, released = threading.Event(), threading.Event()

    def hold(_asked: dict[str, Any]) -> str:
        taken.set()
        released.wait(TIMEOUT_S)
        return "still answered"

    monkeypatch.setitem(ANSWERS, "hold", hold)
    found: list[str] = []
    asker = threading.Thread(target=lambda: found.append(enquiries.ask("hold", {}, TIMEOUT_S)))
    asker.start()
    assert taken.wait(TIMEOUT_S)
    answering.stop()
    released.set()
    answering.finish()
    asker.join()
    assert found == ["still answered"]
    with pytest.raises(Unavailable, match="No index worker"):
        enquiries.ask("echo", {}, 0.05)
