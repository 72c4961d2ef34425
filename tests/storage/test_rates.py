"""Counters: in Redis for all servers, and in this process where Redis is away; both count alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import rates
from storage.connections import redis_client
from storage.rates import LocalRates, Rate, Taken
from tests import factories

Take = Callable[..., Taken | None]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["redis", "here"])
def take(request: pytest.FixtureRequest, clean_redis: str, monkeypatch: pytest.MonkeyPatch) -> Take:
    monkeypatch.setattr(rates, "_paused_until", 0.0)
    return rates.take if request.param == "redis" else LocalRates().take


def test_as_many_as_allowed_and_no_more(take: Take) -> None:
    rate = Rate(3, 600)
    for left in (2, 1, 0):
        taken = take("a", rate)
        assert taken is not None
        assert (taken.passed, taken.remaining, taken.retry_after_s) == (True, left, 0)
    refused = take("a", rate)
    assert refused is not None
    assert (refused.passed, refused.remaining) == (False, 0)
    assert 190 < refused.retry_after_s <= 200.1
    assert 590 < refused.reset_s <= 600
    assert take("b", rate).passed  # type: ignore[union-attr]


def test_what_is_given_back_can_be_taken_again(take: Take) -> None:
    rate = Rate(1, 600)
    assert take("a", rate).passed  # type: ignore[union-attr]
    assert take("a", rate, -1).passed  # type: ignore[union-attr]
    assert take("a", rate, -1).remaining == 1  # type: ignore[union-attr]  - never more than there is
    assert take("a", rate).passed  # type: ignore[union-attr]
    assert not take("a", rate).passed  # type: ignore[union-attr]


def test_many_at_once_are_counted(take: Take) -> None:
    taken = factories.at_once(*[lambda: take("a", Rate(5, 600))] * 12)
    assert sum(one.passed for one in taken if one is not None) == 5


def test_counters_are_forgotten(clean_redis: str) -> None:
    rates.take("a", Rate(10, 60))
    (key,) = redis_client().keys("bc:rate:*")
    assert 0 < redis_client().pttl(key) <= 60_001


def test_the_allowance_comes_back_evenly() -> None:
    clock = Clock()
    local, rate = LocalRates(clock), Rate(6, 60)
    assert [local.take("a", rate).passed for _ in range(7)] == [True] * 6 + [False]
    clock.now += 10.001
    assert [local.take("a", rate).passed for _ in range(2)] == [True, False]
    clock.now += 60.001
    assert [local.take("a", rate).passed for _ in range(7)] == [True] * 6 + [False]


@given(st.integers(1, 50), st.floats(0.1, 1000), st.lists(st.floats(0, 100), max_size=60))
def test_never_more_than_twice_the_limit_in_a_window(limit: int, window_s: float, pauses: list[float]) -> None:
    clock = Clock()
    local, passed = LocalRates(clock), []
    for pause in pauses:
        clock.now += pause
        taken = local.take("a", Rate(limit, window_s))
        assert 0 <= taken.remaining < limit
        assert 0 <= taken.retry_after_s <= window_s / limit + 1e-6
        if taken.passed:
            passed.append(clock.now)
    for start in passed:
        assert sum(start <= moment < start + window_s for moment in passed) <= 2 * limit


def test_local_counters_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_LOCAL", 10)
    clock = Clock()
    local = LocalRates(clock)
    for number in range(100):
        clock.now += 2
        local.take(str(number), Rate(1, 1))
    assert len(local._full) <= 11


def test_redis_that_is_away_says_nothing_and_is_left_alone(
    settings: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from config.settings import reset_settings
    from storage import connections

    connections.close_clients()
    settings.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
    reset_settings()
    monkeypatch.setattr(rates, "_paused_until", 0.0)
    monkeypatch.setattr(rates, "_local", LocalRates())
    try:
        assert rates.take("a", Rate(1, 60)) is None
        assert rates._paused_until > 0
        assert rates.take("a", Rate(1, 60)) is None
        assert [rates.take_surely("a", Rate(1, 60)).passed for _ in range(2)] == [True, False]
    finally:
        connections.close_clients()
        rates._paused_until = 0.0
