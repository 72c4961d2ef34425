"""A look at a folder: everything in it, nothing outside of it, and what changed since."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, get_settings, reset_settings
from storage import workspace
from storage.database import transaction
from storage.workspace import Changes, Look, kind_of, look, read, record

pytestmark = pytest.mark.usefixtures("settings")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def put(root: Path, path: str, content: str = "x") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def paths(root: Path, settings: Settings | None = None) -> list[str]:
    return [file.path for file in look(root, settings or get_settings()).files]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.py", "code"),
        ("b/README.MD", "markdown"),
        ("notes.txt", "text"),
        ("Makefile", "code"),
        ("x.tar.gz", "archive"),
        ("a.b/c", "other"),
        ("noending", "other"),
        ("x.", "other"),
        ("photo.JPEG", "image"),
        ("table.csv", "data"),
    ],
)
def test_kinds(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_everything_below_is_seen_in_order(root: Path) -> None:
    for path in ("b.txt", "a/c.md", "a/b/d.py", "ä/ö.txt"):
        put(root, path)
    assert paths(root) == ["a/b/d.py", "a/c.md", "b.txt", "ä/ö.txt"]


def test_what_is_hidden_or_made_by_tools_is_left_alone(root: Path) -> None:
    for path in (".env", ".git/config", "node_modules/x.js", "a/__pycache__/x.py", "a/b.txt"):
        put(root, path)
    assert paths(root) == ["a/b.txt"]


def test_no_link_is_followed(root: Path, tmp_path: Path) -> None:
    secret = put(tmp_path, "outside/secret.txt")
    (root / "file.txt").symlink_to(secret)
    (root / "folder").symlink_to(secret.parent)
    (root / "loop").symlink_to(root)
    (root / "broken").symlink_to(root / "nowhere")
    put(root, "mine.txt")
    seen = look(root, get_settings())
    assert ([file.path for file in seen.files], seen.passed_over, seen.is_complete) == (["mine.txt"], 4, True)


def test_a_link_in_the_place_of_what_was_seen_is_not_read(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "outside/a.txt", "secret")
    put(root, "folder/a.txt", "mine")
    assert read(root, "folder/a.txt", 100) == b"mine"
    (root / "folder" / "a.txt").unlink()
    (root / "folder" / "a.txt").symlink_to(tmp_path / "outside" / "a.txt")
    with pytest.raises(OSError):
        read(root, "folder/a.txt", 100)
    (root / "folder" / "a.txt").unlink()
    (root / "folder").rmdir()
    (root / "folder").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        read(root, "folder/a.txt", 100)


def test_the_workspace_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    put(root, "a.txt")
    (tmp_path / "link").symlink_to(root)
    assert paths(tmp_path / "link") == ["a.txt"]


def test_only_files_are_read(root: Path) -> None:
    os.mkfifo(root / "pipe.txt")
    assert look(root, get_settings()).passed_over == 1
    with pytest.raises(OSError):
        read(root, "pipe.txt", 100)
    (root / "folder.txt").mkdir()
    with pytest.raises(OSError):
        read(root, "folder.txt", 100)


def test_a_long_file_is_not_read(root: Path) -> None:
    put(root, "a.txt", "x" * 101)
    assert read(root, "a.txt", 100) is None
    assert read(root, "a.txt", 101) == b"x" * 101


def test_names_that_no_database_holds_are_passed_over(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.txt")).touch()
    deep = "/".join(["d" * 200] * 6)
    put(root, f"{deep}/x.txt")
    put(root, "a.txt")
    seen = look(root, get_settings())
    assert [file.path for file in seen.files] == ["a.txt"]
    assert seen.passed_over == 2


def test_our_own_state_is_no_workspace(root: Path, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("DATA_DIR", str(root / "state"))
    reset_settings()
    put(root, "state/backchannel.txt")
    put(root, "a.txt")
    assert paths(root) == ["a.txt"]


def test_a_folder_that_goes_meanwhile_is_passed_over(root: Path, settings: pytest.MonkeyPatch) -> None:
    put(root, "a/b.txt")
    put(root, "c.txt")
    read_folder = workspace._read_folder

    def then_remove(descriptor: int, folder: str, *rest: Any) -> Iterator[str]:
        yield from read_folder(descriptor, folder, *rest)
        shutil.rmtree(root / "a")

    settings.setattr(workspace, "_read_folder", then_remove)
    seen = look(root, get_settings())
    assert ([file.path for file in seen.files], seen.passed_over) == (["c.txt"], 1)


def test_a_look_is_bounded(root: Path, settings: pytest.MonkeyPatch) -> None:
    for number in range(20):
        put(root, f"{number % 4}/{number}.txt")
    for name, value in (("WORKSPACE_MAX_FILES", "7"), ("WORKSPACE_SCAN_S", "0.0000001")):
        with settings.context() as changed:
            changed.setenv(name, value)
            reset_settings()
            seen = look(root, get_settings())
        assert not seen.is_complete
        assert len(seen.files) <= 7
    reset_settings()


def test_a_bottomless_folder_ends(root: Path) -> None:
    put(root, "/".join(["d"] * 60) + "/x.txt")
    seen = look(root, get_settings())
    assert (seen.files, seen.is_complete) == ([], False)


def test_no_folder_is_an_error(root: Path) -> None:
    for path in (root / "nowhere", put(root, "file.txt")):
        with pytest.raises(OSError):
            look(path, get_settings())


# --- the rows


def remember(root: Path) -> Changes:
    with transaction() as session:
        return record(session, look(root, get_settings()))


@pytest.mark.usefixtures("database")
def test_changes_are_told_once(root: Path) -> None:
    put(root, "same.txt")
    longer, gone = put(root, "longer.txt"), put(root, "gone.txt")
    touched = put(root, "touched.txt")
    assert remember(root) == Changes()
    longer.write_text("longer")
    gone.unlink()
    put(root, "new.txt")
    os.utime(touched, ns=(0, touched.stat().st_mtime_ns + 1000))
    changes = remember(root)
    assert (changes.added, changes.changed, changes.removed) == (
        ("new.txt",),
        ("longer.txt", "touched.txt"),
        ("gone.txt",),
    )
    again = remember(root)
    assert (again.added, again.changed, again.removed) == ((), (), ())
    assert again.since is not None
    assert changes.since is not None
    assert again.since > changes.since


@pytest.mark.usefixtures("sqlite")
def test_an_incomplete_look_removes_nothing(root: Path) -> None:
    put(root, "a.txt")
    remember(root)
    with transaction() as session:
        assert record(session, Look(is_complete=False)).removed == ()
    with transaction() as session:
        assert record(session, Look()).removed == ("a.txt",)


@pytest.mark.usefixtures("sqlite")
def test_times_beyond_all_calendars(root: Path) -> None:
    old = put(root, "old.txt")
    os.utime(old, (0, -(10**9)))
    remember(root)
    assert remember(root).changed == ()
