"""Which files of a folder are taken, and how an unfinished import is remembered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.exports import Memory, find


def test_which_files_of_a_folder(tmp_path: Path) -> None:
    names = [
        "a.json", "b.ZIP", "chat.html", "llm/logs.db", "page.MHTML", "picture.png", ".hidden.json",
        "__MACOSX/a.json", ".git/b.json",
        "unpacked/conversations-000.json", "unpacked/conversations.json", "unpacked/user.json", "unpacked/chat.html",
        "unpacked/projects/a.json", "projects/a.json", "grok/prod-grok-backend.json", "grok/prod-mc-billing.json",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "again.json").symlink_to(tmp_path / "a.json")
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nothing")
    found = find([tmp_path, tmp_path / "picture.png", tmp_path])
    taken = sorted(str(one.path.relative_to(tmp_path)) for one in found if not one.why)
    assert taken == [
        "a.json",
        "b.ZIP",
        "chat.html",
        "grok/prod-grok-backend.json",
        "llm/logs.db",
        "page.MHTML",
        "picture.png",
        "projects/a.json",
        "unpacked/conversations-000.json",
        "unpacked/conversations.json",
    ]
    why = {str(one.path.relative_to(tmp_path)): one.why for one in found if one.why}
    assert why.pop("dangling.json") == "not a regular file"
    unpacked = {"unpacked/chat.html", "unpacked/projects", "unpacked/user.json", "grok/prod-mc-billing.json"}
    assert set(why) == {".hidden.json", "__MACOSX", ".git"} | unpacked


def test_a_link_that_leads_out_of_the_folder_is_followed_only_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret.json").touch()
    link = tmp_path / "folder" / "link.json"
    link.symlink_to(tmp_path / "secret.json")
    (found,) = find([tmp_path / "folder"])
    assert (found.path, found.failed) == (link, False)
    assert "leads out" in (found.why or "")
    assert find([link])[0].why is None


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
