"""`backchannel search`."""

from __future__ import annotations

import json

from tests.cli.conftest import Run
from tests.cli.stand_in import StandIn

HIT = {
    "conversation_id": "01900000-0000-7000-8000-000000000001",
    "title": "Pruning [red]roses[/]\x1b[31m",
    "why": "vector",
    "score": 0.8349,
    "snippet": "…cut them\n\nback in \x07March…",
}


def test_a_hit_has_all_its_parts(stand_in: StandIn, run: Run) -> None:
    stand_in.hits = [HIT, {**HIT, "title": None, "snippet": None, "why": "title", "score": 1.0}]
    result = run("search", "roses in", "spring")
    assert result.exit_code == 0
    for part in ("0.83", "vector", "Pruning [red]roses[/][31m", "…cut them back in March…", HIT["conversation_id"]):
        assert part in result.stdout
    assert "(untitled)" in result.stdout
    assert "\x1b[31m" not in result.stdout
    (asked,) = stand_in.asked("GET /api/search")
    assert asked.query == {"q": "roses in spring", "limit": "10"}


def test_json_is_the_answer_as_it_came(stand_in: StandIn, run: Run) -> None:
    stand_in.hits = [HIT, HIT, HIT]
    result = run("search", "roses", "--limit", "2", "--json")
    assert json.loads(result.stdout) == {"query": "roses", "results": [HIT, HIT], "total": 2}


def test_nothing_found(run: Run) -> None:
    result = run("search", "zebra")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Nothing was found.\n")


def test_what_is_missing_of_a_search_is_said_beside_the_hits(stand_in: StandIn, run: Run) -> None:
    missing = "Found by words and titles only: the vector index is not running."
    for hits in ([HIT], []):
        stand_in.refusals = [("GET /api/search", 200, {"results": hits, "degraded": missing}, {})]
        result = run("search", "roses")
        assert result.exit_code == 0
        assert result.stderr.splitlines()[-1] == missing
        assert missing not in result.stdout
        assert (HIT["conversation_id"] in result.stdout) == bool(hits)


def test_bad_arguments(run: Run) -> None:
    for arguments in ([], ["  "], ["x", "--limit", "0"], ["x", "--url", "elsewhere"], ["x", "--url", "http://a:b:c"]):
        result = run("search", *arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1


def test_the_server_s_no_is_a_sentence(stand_in: StandIn, run: Run) -> None:
    away = {"detail": "No index worker answered in 30 s.", "code": "unavailable"}
    stand_in.refusals = [("GET /api/search", 503, away, {})]
    result = run("search", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: No index worker answered in 30 s.\n"


def test_an_answer_of_another_version(stand_in: StandIn, run: Run) -> None:
    stand_in.refusals = [("GET /api/search", 200, {"results": [{}]}, {})]
    result = run("search", "x")
    assert result.exit_code == 1
    assert "another version" in result.stderr
