"""Enquiries and their answers, by way of Redis: in time or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import orjson
import pytest
import redis

from config.errors import Unavailable, Unusable
from config.settings import reset_settings
from storage import enquiries
from storage.connections import close_clients
from storage.enquiries import ASKED, Enquiry


@pytest.fixture
def broker(clean_redis: str) -> redis.Redis:
    return redis.Redis.from_url(clean_redis)


@pytest.fixture
def worker() -> Iterator[list[Enquiry]]:
    """Takes one enquiry and answers it with what it was asked, or with its error."""
    taken: list[Enquiry] = []

    def work() -> None:
        enquiry = enquiries.take(4.0)
        assert enquiry is not None
        taken.append(enquiry)
        if "error" in enquiry.asked:
            enquiries.reply(enquiry, error=Unusable(enquiry.asked["error"]))
        else:
            enquiries.reply(enquiry, value=[enquiry.name, enquiry.asked])

    thread = threading.Thread(target=work)
    thread.start()
    yield taken
    thread.join()


def waiting(timeout_s: float = 0.05) -> None:
    """Asks, and gives up."""
    with pytest.raises(Unavailable, match="No index worker answered"):
        enquiries.ask("search.query", {"text": "?"}, timeout_s)


def test_an_enquiry_is_answered(broker: redis.Redis, worker: list[Enquiry]) -> None:
    assert enquiries.ask("search.query", {"text": "?"}, 4.0) == ["search.query", {"text": "?"}]
    assert broker.keys("bc:*") == []


def test_a_worker_answers_with_its_error(broker: redis.Redis, worker: list[Enquiry]) -> None:
    with pytest.raises(Unavailable, match="Ask something else") as caught:
        enquiries.ask("search.query", {"error": "Ask something else."}, 4.0)
    assert caught.value.code == "unprocessable"


def test_who_gives_up_takes_the_enquiry_back(broker: redis.Redis) -> None:
    waiting()
    assert broker.keys("bc:*") == []
    assert enquiries.take(0.01) is None


def test_what_a_killed_worker_took_is_asked_once_more(broker: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enquiries, "AGAIN_S", 0.1)
    told = []
    asker = threading.Thread(target=lambda: told.append(enquiries.ask("search.query", {}, 10.0)))
    asker.start()
    lost, again = enquiries.take(4.0), enquiries.take(4.0)
    assert lost is not None
    assert again == lost
    enquiries.reply(again, value="found")
    asker.join()
    assert told == ["found"]
    assert broker.keys("bc:*") == []


def test_what_still_waits_is_not_asked_again(broker: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enquiries, "AGAIN_S", 0.02)
    waiting(0.1)
    assert broker.keys("bc:*") == []


def test_what_a_dead_asker_left_is_not_answered(broker: redis.Redis) -> None:
    for until in (time.time() - 1, time.time() + 60):
        broker.rpush(ASKED, orjson.dumps(["search.query", {}, "bc:reply:x", until]))
    assert enquiries.take(0.1) is None
    assert enquiries.take(0.1) == Enquiry("search.query", {}, "bc:reply:x", until)


def test_the_oldest_is_taken_first_and_once(broker: redis.Redis) -> None:
    askers = []
    for number in range(3):
        askers.append(threading.Thread(target=enquiries.ask, args=("search.query", {"number": number}, 4.0)))
        askers[-1].start()
        while broker.llen(ASKED) <= number:
            pass
    taken = [enquiry for _ in askers if (enquiry := enquiries.take(1.0)) is not None]
    assert [enquiry.asked["number"] for enquiry in taken] == [0, 1, 2]
    assert enquiries.take(0.01) is None
    for enquiry in taken:
        enquiries.reply(enquiry, value=None)
    for asker in askers:
        asker.join()


def test_nothing_stays_for_ever(broker: redis.Redis) -> None:
    enquiries.reply(Enquiry("search.query", {}, "bc:reply:x", time.time()), value=1)
    assert 0 < broker.ttl("bc:reply:x") <= enquiries.FORGOTTEN_S
    asker = threading.Thread(target=waiting, args=(0.3,))
    asker.start()
    while not broker.exists(ASKED):
        pass
    assert 0 < broker.ttl(ASKED) <= enquiries.FORGOTTEN_S
    asker.join()


def test_a_redis_that_is_away_is_said(settings: pytest.MonkeyPatch) -> None:
    close_clients()
    settings.setenv("REDIS_URL", "redis://127.0.0.1:9")
    reset_settings()
    with pytest.raises(Unavailable, match="cannot be reached"):
        enquiries.ask("search.query", {}, 1.0)
    close_clients()
