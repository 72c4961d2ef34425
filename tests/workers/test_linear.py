"""A project is made once, found again by its marker, and what goes wrong is told apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from config.errors import Conflict, ProviderRefused, ProviderUnavailable
from config.settings import get_settings, reset_settings
from tests.standins.linear_server import KEY, LinearServer, linear_server, refusal
from tests.standins.server import Told
from workers.linear import Linear

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def server(settings: pytest.MonkeyPatch) -> Iterator[LinearServer]:
    with linear_server() as running:
        settings.setenv("LINEAR_API_URL", running.url)
        settings.setenv("LINEAR_ACCESS_KEY", KEY)
        reset_settings()
        yield running


def test_a_project_is_made_in_the_first_team(server: LinearServer) -> None:
    made = Linear(get_settings()).create("Roses", "Plant them.")
    assert (made.id, made.name, made.url) == ("p1", "Roses", "https://linear.app/x/project/p1")
    assert (server.projects[0]["content"], server.projects[0]["team"]) == ("Plant them.", "t1")


@pytest.mark.parametrize("name", ["TUL", "tulips"])
def test_or_in_the_one_that_is_named(server: LinearServer, settings: pytest.MonkeyPatch, name: str) -> None:
    settings.setenv("LINEAR_TEAM", name)
    reset_settings()
    Linear(get_settings()).create("Roses", "x")
    assert server.projects[0]["team"] == "t2"


def test_a_team_that_is_not_there(server: LinearServer, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("LINEAR_TEAM", "Cacti")
    reset_settings()
    with pytest.raises(ProviderRefused, match="LINEAR_TEAM"):
        Linear(get_settings()).create("Roses", "x")
    assert server.projects == []


def test_a_project_is_found_by_its_marker_on_any_page(server: LinearServer) -> None:
    linear = Linear(get_settings())
    for number in range(5):
        linear.create(f"Number {number}", f"text\n\nmarker-{number}")
    found = linear.find("marker-0", SINCE)
    assert found is not None
    assert (found.id, found.name) == ("p1", "Number 0")
    assert linear.find("marker-9", SINCE) is None
    assert server.asked[-1]["variables"]["since"] == SINCE.isoformat()


def test_without_a_key_it_is_not_there(settings: pytest.MonkeyPatch) -> None:
    with pytest.raises(Conflict, match="LINEAR_ACCESS_KEY"):
        Linear(get_settings())


def test_a_wrong_key_is_refused_and_not_shown(server: LinearServer, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("LINEAR_ACCESS_KEY", "lin_api_wrong")
    reset_settings()
    with pytest.raises(ProviderRefused, match="does not accept LINEAR_ACCESS_KEY") as caught:
        Linear(get_settings()).create("Roses", "x")
    assert "wrong" not in caught.value.detail


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (refusal("Rate limit exceeded", "RATELIMITED", Retry_After="7"), ProviderUnavailable, "left alone"),
        ((429, b"slow down", {}), ProviderUnavailable, "left alone"),
        ((502, b"<html>", {}), ProviderUnavailable, "answered 502"),
        (refusal(f"Not like this, {KEY}", "INVALID_INPUT"), ProviderRefused, "refused: Not like this, …"),
        (refusal("You shall not", "FORBIDDEN", 200), ProviderRefused, "does not accept"),
        ((200, b"no JSON", {}), ProviderRefused, "cannot be read"),
        ((200, b"[]", {}), ProviderRefused, "cannot be read"),
        ((200, {"data": None}, {}), ProviderRefused, "cannot be read"),
        ((200, {"data": {"teams": {"nodes": []}}}, {}), ProviderRefused, "names no team"),
        ((200, {"data": {"teams": {"nodes": [{"id": 7}]}}}, {}), ProviderRefused, "cannot be read"),
        ((200, {"errors": "odd"}, {}), ProviderRefused, "refused"),
        ((404, b"", {}), ProviderRefused, "status 404"),
    ],
)
def test_errors_are_told_apart(server: LinearServer, reply: Told, kind: type[Exception], words: str) -> None:
    server.replies = [reply]
    with pytest.raises(kind, match=words) as caught:
        Linear(get_settings()).create("Roses", "x")
    assert KEY not in str(caught.value)
    assert server.projects == []


def test_the_pause_it_asks_for_is_passed_on(server: LinearServer) -> None:
    server.replies = [refusal("Rate limit exceeded", "RATELIMITED", Retry_After="7")]
    with pytest.raises(ProviderUnavailable) as caught:
        Linear(get_settings()).create("Roses", "x")
    assert caught.value.headers == {"Retry-After": "7"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/graphql", "no address at all"])
def test_nobody_there(server: LinearServer, settings: pytest.MonkeyPatch, url: str) -> None:
    settings.setenv("LINEAR_API_URL", url)
    reset_settings()
    with pytest.raises(ProviderUnavailable, match="did not answer"):
        Linear(get_settings()).create("Roses", "x")
