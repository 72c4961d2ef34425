"""`backchannel export`: the whole file, or none of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.stand_in import StandIn

LINES = b'{"format": "backchannel.conversation"}\n' * 3


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shows(stand_in: StandIn, body: bytes = LINES, status: int = 200) -> None:
    stand_in.refusals.append(("GET /api/export", status, body, {}))


def test_everything_in_one_file(stand_in: StandIn, run: Run, elsewhere: Path) -> None:
    shows(stand_in)
    result = run("export", "--source", "claude")
    assert result.exit_code == 0
    assert (elsewhere / "backchannel.zip").read_bytes() == LINES
    assert f"{len(LINES)} bytes to backchannel.zip" in result.stderr
    (asked,) = stand_in.asked("GET /api/export")
    assert asked.query == {"format": "zip", "source": "claude"}


@pytest.mark.parametrize(
    ("args", "name", "query"),
    [
        (("-o", "mine.jsonl"), "mine.jsonl", {"format": "jsonl"}),
        (("-o", "mine.ZIP"), "mine.ZIP", {"format": "zip"}),
        (("-o", "mine"), "mine", {"format": "jsonl"}),
        (("--format", "jsonl"), "backchannel.jsonl", {"format": "jsonl"}),
        (("--format", "jsonl", "-o", "mine.zip"), "mine.zip", {"format": "jsonl"}),
        (("--no-files",), "backchannel.zip", {"format": "zip", "files": "false"}),
        (("--format", "markdown"), "backchannel-markdown.zip", {"format": "markdown"}),
    ],
)
def test_the_name_says_what_is_written(
    stand_in: StandIn, run: Run, elsewhere: Path, args: tuple[str, ...], name: str, query: dict[str, str]
) -> None:
    shows(stand_in)
    assert run("export", *args).exit_code == 0
    assert (elsewhere / name).read_bytes() == LINES
    assert [asked.query for asked in stand_in.asked("GET /api/export")] == [query]


def test_to_a_pipe(stand_in: StandIn, run: Run, elsewhere: Path) -> None:
    shows(stand_in)
    assert run("export", "-o", "-").stdout_bytes == LINES
    assert [asked.query for asked in stand_in.asked("GET /api/export")] == [{"format": "jsonl"}]
    assert list(elsewhere.iterdir()) == [elsewhere / "cache"] or not list(elsewhere.iterdir())


def test_what_is_there_is_not_written_over(stand_in: StandIn, run: Run, elsewhere: Path) -> None:
    target = elsewhere / "mine.jsonl"
    target.write_text("mine")
    result = run("export", "-o", target)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert target.read_text() == "mine"
    shows(stand_in)
    assert json.loads(run("export", "-o", target, "--force", "--json").stdout) == {
        "file": str(target),
        "bytes": len(LINES),
    }
    assert target.read_bytes() == LINES


def test_an_error_leaves_nothing(stand_in: StandIn, run: Run, elsewhere: Path) -> None:
    shows(stand_in, b'{"detail": "Not now.", "code": "unavailable"}', 503)
    result = run("export", "-o", elsewhere / "x")
    assert (result.exit_code, result.stderr) == (1, "Error: Not now.\n")
    assert not (elsewhere / "x").exists()


def test_a_folder_that_is_not_there(stand_in: StandIn, run: Run, elsewhere: Path) -> None:
    result = run("export", "-o", elsewhere / "no" / "x")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
