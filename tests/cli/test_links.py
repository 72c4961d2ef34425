"""Share links as `backchannel import` takes them: beside files, or from a list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.stand_in import StandIn

FIRST = "https://chatgpt.com/share/68a1b2c3-d4e5-6789-abcd-ef0123456789"
SECOND = "https://claude.ai/share/68a1b2c3-d4e5-6789-abcd-ef0123456789"
DONE = [
    {"type": "started", "attempt": 1},
    {
        "type": "done",
        "response": {"conversations": {"created": 1, "updated": 0, "unchanged": 0, "failed": 0}, "messages": 2},
    },
]


@pytest.fixture(autouse=True)
def imports_succeed(stand_in: StandIn) -> None:
    stand_in.scripts = [DONE]


def sent(stand_in: StandIn) -> list[str]:
    return [request.body["url"] for request in stand_in.asked("POST /api/imports")]


def test_links_and_a_list_of_them(stand_in: StandIn, run: Run, tmp_path: Path) -> None:
    listed = tmp_path / "links.txt"
    listed.write_text(f"# mine\n\n{SECOND}?utm=1\n{FIRST}/\nhttps://example.org/x\n")
    result = run("import", FIRST, "--links", listed, "--json")
    assert result.stdout, result.stderr
    rows = {row["file"]: row for row in json.loads(result.stdout)["imports"]}
    assert sorted(sent(stand_in)) == [FIRST, SECOND]
    assert rows[FIRST]["status"] == rows[SECOND]["status"] == "succeeded"
    assert "shared conversation" in rows["https://example.org/x"]["error"]
    assert result.exit_code == 1  # one of them was none


def test_a_link_beside_a_file(stand_in: StandIn, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "conversations.json"
    file.write_bytes(b"[]")
    result = run("import", file, FIRST)
    assert result.exit_code == 0, result.stderr
    assert FIRST in result.stdout
    assert len(stand_in.asked("POST /api/imports")) == 2


def test_nothing_to_import(run: Run) -> None:
    result = run("import")
    assert result.exit_code == 2
    assert "share links" in result.stderr


def test_an_empty_list(run: Run, tmp_path: Path) -> None:
    (tmp_path / "links.txt").write_text("# none yet\n")
    result = run("import", "--links", tmp_path / "links.txt")
    assert result.exit_code == 1
    assert "no link" in result.stderr
