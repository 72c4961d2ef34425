"""Texts of the workspace become conversations, follow their files, and stay where those have gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage.tables import Conversation, Job
from tasks import workspace
from tasks.base import run_job
from tasks.leases import Leases
from tests import factories

pytestmark = pytest.mark.usefixtures("database", "held", "clean_redis")


@pytest.fixture
def root(tmp_path: Path, settings: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    settings.setenv("WORKSPACE_DIR", str(root))
    reset_settings()
    return root


def put(root: Path, path: str, content: str | bytes) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def index() -> dict[str, Any]:
    job = done()
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job.result


def done() -> Job:
    job_id = factories.job(Kind.WORKSPACE)
    run_job(job_id)
    return factories.load(job_id)


def files() -> dict[str, Conversation]:
    return {row.native_id: row for row in factories.all_conversations()}


def text_of(path: str) -> list[str]:
    return factories.shown(files()[path].id)


def test_a_file_is_a_conversation(root: Path) -> None:
    put(root, "notes.txt", "Prune roses in spring.")
    put(root, "docs/guide.md", "# Guide")
    put(root, "photo.png", b"\x89PNG")
    assert index() == {
        "files": 2, "created": 2, "updated": 0, "unchanged": 0, "skipped": 0, "archived": 0, "complete": True,
    }  # fmt: skip
    row = files()["docs/guide.md"]
    assert (row.source, row.title, row.is_archived) == ("workspace", "docs/guide.md", False)
    assert text_of("docs/guide.md") == ["# Guide"]
    assert len(factories.all_jobs(Kind.EMBED)) == 1


def test_code_is_fenced_whatever_it_holds(root: Path) -> None:
    put(root, "a.py", "x = '````'\n")
    put(root, "Makefile", "all:\n\ttrue\n")
    index()
    assert text_of("a.py") == ["`````py\nx = '````'\n`````"]
    assert text_of("Makefile") == ["```\nall:\n\ttrue\n```"]


def test_a_second_time_nothing_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "a.txt", "one")
    index()

    def read(*_: object) -> bytes:
        raise AssertionError("read again")

    monkeypatch.setattr(workspace.workspace, "read", read)
    assert index().items() >= {"unchanged": 1, "created": 0, "updated": 0}.items()


def test_a_changed_file_is_the_same_conversation(root: Path) -> None:
    put(root, "a.txt", "one")
    index()
    before = files()["a.txt"]
    factories.question(before.id, "What does it say?")
    put(root, "a.txt", "two words")
    assert index()["updated"] == 1
    assert files()["a.txt"].id == before.id
    assert files()["a.txt"].content_version > before.content_version
    assert text_of("a.txt") == ["two words", "What does it say?"]


def test_a_file_that_is_gone_is_archived_until_it_is_back(root: Path) -> None:
    file = put(root, "a.txt", "one")
    index()
    file.unlink()
    assert index()["archived"] == 1
    assert files()["a.txt"].is_archived
    assert text_of("a.txt") == ["one"]
    assert index()["archived"] == 0
    put(root, "a.txt", "one")
    assert index()["updated"] == 1
    assert not files()["a.txt"].is_archived


def test_an_incomplete_look_archives_nothing(root: Path, settings: pytest.MonkeyPatch) -> None:
    for name in "abc":
        put(root, f"{name}.txt", name)
    index()
    settings.setenv("WORKSPACE_MAX_FILES", "1")
    reset_settings()
    assert index().items() >= {"archived": 0, "complete": False}.items()
    assert not any(row.is_archived for row in files().values())


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\xfd", b"a\0b", b"x" * 2000])
def test_what_is_no_text_is_skipped(root: Path, settings: pytest.MonkeyPatch, content: bytes) -> None:
    settings.setenv("WORKSPACE_MAX_FILE_KB", "1")
    reset_settings()
    put(root, "a.txt", content)
    put(root, "b.txt", "text")
    assert index().items() >= {"skipped": 1, "created": 1}.items()
    assert list(files()) == ["b.txt"]


def test_a_long_text_is_several_messages(root: Path) -> None:
    lines = "".join(f"line {number}\n" for number in range(20_000))
    put(root, "a.log", lines)
    put(root, "b.log", "x" * 120_000)
    index()
    assert "".join(text_of("a.log")) == lines
    assert all(piece.endswith("\n") and len(piece) <= workspace.PIECE_CHARS for piece in text_of("a.log"))
    assert [len(piece) for piece in text_of("b.log")] == [50_000, 50_000, 20_000]


def test_many_files_are_written_in_slices_and_told(root: Path) -> None:
    for number in range(workspace.FILES_PER_SLICE + 5):
        put(root, f"{number}.txt", str(number))
    job = done()
    assert job.result is not None
    assert job.result["created"] == workspace.FILES_PER_SLICE + 5
    assert job.progress == {"done": 55, "total": 55, "unit": "files"}


def test_a_stopped_job_goes_on(root: Path, held: Leases) -> None:
    put(root, "a.txt", "one")
    held.stopping.set()
    job = done()
    assert job.status == "queued"
    held.stopping.clear()
    run_job(job.id)
    assert factories.load(job.id).status == "succeeded"


def test_a_link_put_in_its_place_is_not_read(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = put(tmp_path, "secret.txt", "secret")
    file = put(root, "a.txt", "mine")
    look = workspace.workspace.look

    def then_swap(*given: Any) -> Any:
        seen = look(*given)
        file.unlink()
        file.symlink_to(secret)
        return seen

    monkeypatch.setattr(workspace.workspace, "look", then_swap)
    assert index()["skipped"] == 1
    assert files() == {}


def test_no_workspace_is_told(settings: pytest.MonkeyPatch) -> None:
    job = done()
    assert (job.status, job.error and job.error["code"]) == ("failed", "conflict")


def test_a_workspace_that_is_away_is_waited_for(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings.setenv("WORKSPACE_DIR", str(tmp_path / "nowhere"))
    reset_settings()
    job = done()
    assert (job.status, job.failures) == ("queued", 1)
    assert "nowhere" not in str(job.error)
