"""A model of several files: in place together or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.errors import NoSpace, NotFound, Unavailable, Unusable
from config.voice_models import ORIGIN
from tests.standins.hub_server import HubServer, hub_server
from workers.hub.download import Pulled
from workers.hub.folder_pull import FolderPull
from workers.hub.repository import Hub, look_up_folder

REPO, VOICES = "owner/whisper", "owner/voices"
FILES = {
    "model.bin": bytes(n * 7 % 251 for n in range(300_000)),
    "config.json": b'{"a": 1}',
    "tokenizer.json": b'{"b": 2}' * 100,
    "README.md": b"# Read me",
}
KEPT = sorted([*FILES, ORIGIN])
KEPT.remove("README.md")
VOICE = {"a/v.onnx": b"onnx" * 1_000, "a/v.onnx.json": b'{"audio": {}}', "b/w.onnx": b"w", "b/w.onnx.json": b"{}"}


class Stopped(Exception):
    """What a cancelled job raises."""


@pytest.fixture
def server() -> Iterator[HubServer]:
    with hub_server(repos={REPO: dict(FILES), VOICES: dict(VOICE)}, plain={"config.json", "v.onnx.json"}) as it:
        yield it


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "models" / "voice" / "part"


def pull(server: HubServer, place: Path, wanted: str = REPO, part: str = "transcriber", **options: Any) -> Pulled:
    hub = Hub(server.url)
    given: dict[str, Any] = {"check": lambda: None, "tell": lambda *_: None, "first_pause_s": 0.001} | options
    return FolderPull(hub, look_up_folder(hub, part, wanted), wanted, place, **given).run()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stop_after(limit: int) -> dict[str, Any]:
    seen = [0]

    def check() -> None:
        if seen[0] >= limit:
            raise Stopped

    return {"check": check, "tell": lambda _phase, done: seen.__setitem__(0, done)}


def test_a_folder_comes_whole(server: HubServer, place: Path) -> None:
    told: list[int] = []
    pulled = pull(server, place, tell=lambda _phase, done: told.append(done))
    size = sum(len(FILES[name]) for name in ("model.bin", "config.json", "tokenizer.json"))
    assert pulled == Pulled("whisper", hashlib.sha256(FILES["model.bin"]).hexdigest(), size, size)
    assert names(place) == KEPT
    assert names(place.parent) == ["part"]
    assert all((place / name).read_bytes() == FILES[name] for name in KEPT if name != ORIGIN)
    assert told == sorted(told)
    assert told[-1] == size
    origin = json.loads((place / ORIGIN).read_text())
    assert (origin["name"], origin["repo"], origin["revision"]) == ("whisper", REPO, server.commit(REPO))


def test_a_voices_own_json_is_not_taken_for_ours(server: HubServer, place: Path) -> None:
    """x.onnx.json is Piper's; of a model of one file that is where we note its origin."""
    assert pull(server, place, f"{VOICES}/a", "speaker").name == "v"
    assert {path.name: path.read_bytes() for path in place.iterdir() if path.name != ORIGIN} == {
        "v.onnx": VOICE["a/v.onnx"], "v.onnx.json": VOICE["a/v.onnx.json"],
    }  # fmt: skip


def test_what_is_here_is_not_fetched_again(server: HubServer, place: Path) -> None:
    first = pull(server, place)
    asked = len(server.files_asked())
    assert pull(server, place) == Pulled(first.name, first.sha256, first.size, 0)
    assert len(server.files_asked()) == asked
    (place / "config.json").write_bytes(b"short")
    assert pull(server, place).fetched == first.size, "somebody changed it"


def test_a_stopped_pull_leaves_nothing_half_and_goes_on(server: HubServer, place: Path) -> None:
    with pytest.raises(Stopped):
        pull(server, place, **stop_after(120_000))
    assert names(place.parent) == ["part.part"]
    have = (place.parent / "part.part" / "model.bin.part").stat().st_size
    pulled = pull(server, place)
    assert pulled.fetched == pulled.size - have
    assert names(place) == KEPT


def test_the_former_model_serves_until_the_next_one_is_whole(server: HubServer, place: Path) -> None:
    pull(server, place, f"{VOICES}/a", "speaker")
    with pytest.raises(Stopped):
        pull(server, place, f"{VOICES}/b", "speaker", **stop_after(1))
    assert (place / "v.onnx").exists()
    pull(server, place, f"{VOICES}/b", "speaker")
    assert names(place) == sorted([ORIGIN, "w.onnx", "w.onnx.json"]), "and nothing of the former is left"


def test_a_newer_version_replaces_the_older(server: HubServer, place: Path) -> None:
    pull(server, place)
    server.repos[REPO]["config.json"] = b'{"a": 3}'
    assert pull(server, place).fetched > 0
    assert (place / "config.json").read_bytes() == b'{"a": 3}'
    server.repos[REPO]["README.md"] = b"other"
    assert pull(server, place).fetched == 0, "another commit with the same files"


@pytest.mark.parametrize("crash", ["before the swap", "within it"])
def test_killed_while_it_was_put_in_place(
    server: HubServer, place: Path, crash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if crash == "within it":
        pull(server, place)
        server.repos[REPO]["config.json"] = b'{"a": 3}'
    replace = Path.replace

    def die(self: Path, target: Path) -> Path:
        if self.name == "part.part":
            raise Stopped
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        with pytest.raises(Stopped):
            pull(server, place)
    asked = len(server.files_asked())
    assert pull(server, place).fetched == 0
    assert len(server.files_asked()) == asked, "all had come"
    assert (names(place), names(place.parent)) == (KEPT, ["part"])


def test_remains_of_another_model_are_swept_out(server: HubServer, place: Path) -> None:
    with pytest.raises(Stopped):
        pull(server, place, f"{VOICES}/a", "speaker", **stop_after(1))
    pull(server, place)
    assert names(place) == KEPT


def test_wrong_bytes_and_web_pages_are_not_kept(server: HubServer, place: Path) -> None:
    server.wrong = 9
    with pytest.raises(Unusable, match="does not have the hash"):
        pull(server, place)
    server.wrong = 0
    server.answers.append((r"cdn /.*", 200, {}, b"<!DOCTYPE html>".ljust(len(FILES["model.bin"]))))
    with pytest.raises(Unusable, match="a web page came"):
        pull(server, place)
    assert not place.exists()
    pull(server, place)


def test_the_disk_is_looked_at_first(server: HubServer, place: Path) -> None:
    with pytest.raises(NoSpace):
        pull(server, place, free_bytes=lambda _: 1_000)
    assert server.files_asked() == []


def test_what_the_hub_does_not_have(server: HubServer, place: Path) -> None:
    with pytest.raises(NotFound, match="is no transcriber"):
        pull(server, place, VOICES)
    server.answers.append((r"hub /.*", 503, {}, b""))
    with pytest.raises(Unavailable):
        pull(server, place)
    assert not place.parent.exists()
