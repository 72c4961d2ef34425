"""Long work leaves slots for short work, and nobody who was turned away is forgotten."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import redis

from config.queues import KINDS, Kind
from storage import backlog, queue
from storage.database import reading
from storage.presence import WorkerPresence
from tasks.base import _call_next, _seats_of
from tasks.leases import Leases
from tasks.seats import Seats
from tests import factories


def test_seats_are_bounded_and_given_back() -> None:
    called: list[int] = []
    seats = Seats(lambda: 2, lambda: called.append(1))
    with ExitStack() as stack:
        assert [stack.enter_context(seats.take()) for _ in range(3)] == [True, True, False]
        assert called == []
    assert len(called) == 2  # whoever leaves calls, as long as somebody may wait
    seats.nobody_waits()
    with seats.take() as seated:
        assert seated
    assert len(called) == 2


def test_without_a_bound_everybody_sits() -> None:
    seats = Seats(lambda: None, lambda: None)
    with ExitStack() as stack:
        assert all(stack.enter_context(seats.take()) for _ in range(100))


def test_a_seat_is_given_back_by_a_job_that_fails() -> None:
    seats = Seats(lambda: 1, lambda: None)
    for _ in range(3):
        try:
            with seats.take() as seated:
                assert seated
                raise KeyError
        except KeyError:
            pass


def test_never_more_than_there_are() -> None:
    seats, most, now, lock = Seats(lambda: 3, lambda: None), 0, 0, threading.Lock()

    def sit() -> None:
        nonlocal most, now
        for _ in range(200):
            with seats.take() as seated:
                if not seated:
                    continue
                with lock:
                    now += 1
                    most = max(most, now)
                with lock:
                    now -= 1

    factories.at_once(*[sit] * 12)
    assert 0 < most <= 3


def test_who_was_turned_away_is_called(sqlite: str, clean_redis: str) -> None:
    seats = Seats(lambda: 1, lambda: _call_next(Kind.SUMMARIZE, seats))
    low = factories.job(Kind.SUMMARIZE, input={"conversation_id": "x"}, priority=1)
    high = factories.job(Kind.SUMMARIZE, input={"conversation_id": "y"}, priority=7)
    with seats.take(), seats.take() as turned_away:
        assert not turned_away
        assert queue.length("summarize") == 0
    assert queue.length("summarize") == 1
    with reading() as session:
        first = backlog.first(session, "summarize")
        assert first is not None
        assert (first.id, low == high) == (high, False)
    body = redis.Redis.from_url(clean_redis).keys("summarize*")
    assert len(body) == 1


def test_nobody_is_called_where_nobody_waits(sqlite: str, clean_redis: str) -> None:
    seats = Seats(lambda: 1, lambda: _call_next(Kind.SUMMARIZE, seats))
    with seats.take(), seats.take():
        pass
    assert queue.length("summarize") == 0


def test_summaries_leave_room_for_chats() -> None:
    from config.settings import get_settings

    at_once = KINDS[Kind.SUMMARIZE].at_once
    assert at_once is not None
    assert at_once < get_settings().generate_concurrency / 2


def test_chats_leave_attendants_to_those_who_speak(held: Leases) -> None:
    for slots, seats in ((48, 36), (16, 8), (1, 1)):
        held.me = WorkerPresence("generate", ["chat"], slots)
        assert _seats_of(Kind.CHAT) == seats
        assert _seats_of(Kind.VOICE_REPLY) is None
        assert _seats_of(Kind.SUMMARIZE) == KINDS[Kind.SUMMARIZE].at_once
