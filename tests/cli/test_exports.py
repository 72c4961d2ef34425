"""Which files of a folder are taken, and how an unfinished import is remembered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.exports import Memory, find


def test_which_files_of_a_folder(tmp_path: Path) -> None:
    names = [
        "a.json", "b.ZIP", "chat.html", "llm/logs.db", "picture.png", ".hidden.json", "__MACOSX/a.json", ".git/b.json",
        "unpacked/conversations-000.json", "unpacked/conversations.json", "unpacked/user.json", "unpacked/chat.html",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "again.json").symlink_to(tmp_path / "a.json")
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nothing")
    found = find([tmp_path, tmp_path / "picture.png", tmp_path])
    taken = sorted(str(one.path.relative_to(tmp_path)) for one in found if not one.why)
    assert taken == [
        "a.json",
        "b.ZIP",
        "chat.html",
        "llm/logs.db",
        "picture.png",
        "unpacked/conversations-000.json",
        "unpacked/conversations.json",
    ]
    why = {str(one.path.relative_to(tmp_path)): one.why for one in found if one.why}
    assert why.pop("dangling.json") == "not a regular file"
    assert set(why) == {".hidden.json", "__MACOSX", ".git", "unpacked/chat.html", "unpacked/user.json"}


def test_memory_survives_damage_and_a_folder_it_may_not_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    memory = Memory("http://a")
    entry = memory.begin("d" * 64, "name.json")
    assert memory.recall("d" * 64) == entry
    assert Memory("http://b").recall("d" * 64) is None
    (kept,) = tmp_path.rglob("*.json")
    for damage in ("", "[]", '{"key": 1}', "\0"):
        kept.write_text(damage)
        assert memory.recall("d" * 64) is None
    memory.forget("d" * 64)
    memory.forget("d" * 64)
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    assert Memory("http://a").begin("d" * 64, "name.json").key != entry.key
