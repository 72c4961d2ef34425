"""Memories that fit, best first; a service that fails says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.errors import ProviderRefused, ProviderUnavailable
from config.settings import get_settings, reset_settings
from tests.standins.mem0_server import Mem0Server, mem0_server
from workers import mem0


@pytest.fixture
def server(settings: pytest.MonkeyPatch) -> Iterator[Mem0Server]:
    with mem0_server() as running:
        settings.setenv("MEM0_API_URL", running.url + "/")
        settings.setenv("MEM0_USER_ID", "jo")
        reset_settings()
        yield running


@pytest.mark.parametrize("bare", [True, False])
def test_the_best_four_that_are_good_enough(server: Mem0Server, bare: bool) -> None:
    scores = [("f", 0.38), ("a", 0.9), ("b", 0.5), ("low", 0.379), ("c", 0.4), ("d", 0.39), ("", 1.0), (" \0 ", 0.95)]
    server.memories, server.bare = scores, bare
    assert mem0.search(get_settings(), "roses") == ["a", "b", "c", "d"]
    assert server.asked == [{"query": "roses", "user_id": "jo", "metadata": {"type": "summary"}}]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((500, b""), ProviderUnavailable),
        ((429, b""), ProviderUnavailable),
        ((401, b"{}"), ProviderRefused),
        ((200, b"<html>"), ProviderRefused),
        ((200, b'{"memories": []}'), ProviderRefused),
        ((200, b'{"results": [{"memory": "x"}]}'), ProviderRefused),
        ((200, b'{"results": 7}'), ProviderRefused),
        ((200, b'{"results": [["x"]]}'), ProviderRefused),
    ],
)
def test_a_service_that_fails(server: Mem0Server, reply: tuple[int, bytes], kind: type[Exception]) -> None:
    server.fails_with = reply
    with pytest.raises(kind):
        mem0.search(get_settings(), "roses")


def test_nobody_there(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("MEM0_API_URL", "http://127.0.0.1:1")
    reset_settings()
    with pytest.raises(ProviderUnavailable):
        mem0.search(get_settings(), "roses")
