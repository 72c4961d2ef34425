"""Who is hung, and who is only slow."""

from __future__ import annotations

import pytest

from cli.health import HUNG_S, START_HUNG_S, Answer, Watch, address


def test_silence_counts_from_the_last_answer() -> None:
    watch = Watch()
    assert watch.see("web", 1, Answer.YES, now=0) is None
    assert watch.see("web", 1, Answer.NO, now=HUNG_S - 1) is None
    assert watch.see("web", 1, Answer.YES, now=HUNG_S) is None
    assert watch.see("web", 1, Answer.NO, now=2 * HUNG_S - 1) is None
    assert watch.see("web", 1, Answer.NO, now=2 * HUNG_S) == HUNG_S


def test_one_that_never_answered_gets_longer() -> None:
    watch = Watch()
    assert watch.see("index", 1, Answer.NO, now=0) is None
    assert watch.see("index", 1, Answer.NO, now=START_HUNG_S - 1) is None
    assert watch.see("index", 1, Answer.NO, now=START_HUNG_S) == START_HUNG_S


def test_loading_is_life_but_not_readiness() -> None:
    watch = Watch()
    assert watch.see("redis", 1, Answer.NOT_YET, now=START_HUNG_S * 2) is None
    assert watch.is_new("redis", 1)
    assert watch.see("redis", 1, Answer.YES, now=START_HUNG_S * 2) is None
    assert not watch.is_new("redis", 1)


def test_nobody_is_blamed_while_redis_is_away() -> None:
    watch = Watch()
    watch.see("generate", 1, Answer.YES, now=0)
    for now in range(0, 1000, 5):
        assert watch.see("generate", 1, Answer.UNKNOWN, now=float(now)) is None
    assert watch.see("generate", 1, Answer.NO, now=1000 + HUNG_S / 2) is None


def test_a_successor_starts_afresh() -> None:
    watch = Watch()
    watch.see("web", 1, Answer.YES, now=0)
    assert watch.see("web", 2, Answer.NO, now=HUNG_S * 2) is None
    assert watch.is_new("web", 2)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("[::1]", "http://[::1]:80"),
        ("example.org", "http://example.org:80"),
    ],
)
def test_a_server_is_reached_where_it_listens(host: str, expected: str) -> None:
    assert address(host, 80) == expected
