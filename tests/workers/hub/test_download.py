"""Bytes from the hub: whole, resumed, refused, never trusted."""

from __future__ import annotations

import fcntl
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.catalogue import origin
from config.errors import BackchannelError, Conflict, Forbidden, NoSpace, NotFound, Unavailable, Unusable
from tests.servers import wait_until
from tests.standins.hub_server import HubServer, hub_server
from workers.hub import download
from workers.hub.download import Pull, Pulled
from workers.hub.repository import Hub, look_up

REPO, OTHER = "owner/repo", "else/where"
NAME = "m-Q4_0.gguf"
CONTENT = b"GGUF" + bytes(n * 7 % 251 for n in range(300_000))
FILE = rf"cdn /{REPO}/.*"


class Stopped(Exception):
    """What a cancelled job raises."""


@pytest.fixture
def server() -> Iterator[HubServer]:
    with hub_server(repos={REPO: {NAME: CONTENT}}) as it:
        yield it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def pull(server: HubServer, folder: Path, wanted: str = REPO, **options: Any) -> Pulled:
    hub = Hub(server.url, options.pop("token", ""))
    given: dict[str, Any] = {"check": lambda: None, "tell": lambda *_: None, "first_pause_s": 0.001} | options
    return Pull(hub, look_up(hub, wanted), wanted, folder, **given).run()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stop_after(limit: int) -> tuple[Callable[[], None], Callable[[str, int], None]]:
    """`check` and `tell` of a job that is cancelled once `limit` bytes are there."""
    seen = [0]

    def check() -> None:
        if seen[0] >= limit:
            raise Stopped

    def tell(_phase: str, done: int) -> None:
        seen[0] = done

    return check, tell


# --- whole


def test_a_model_comes_whole(server: HubServer, folder: Path) -> None:
    told: list[tuple[str, int]] = []
    pulled = pull(server, folder, tell=lambda phase, done: told.append((phase, done)))
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert pulled == Pulled("m-Q4_0", sha256, len(CONTENT), len(CONTENT))
    assert (folder / NAME).read_bytes() == CONTENT
    assert names(folder) == [NAME, f"{NAME}.json"]
    assert origin(folder / NAME) == {
        "reference": REPO, "repo": REPO, "revision": server.commit(REPO), "sha256": sha256, "bytes": len(CONTENT),
    }  # fmt: skip
    done = [done for phase, done in told if phase == "pulling"]
    assert done == sorted(done)
    assert done[-1] == len(CONTENT)


def test_what_is_here_is_not_fetched_again(server: HubServer, folder: Path) -> None:
    pull(server, folder)
    assert pull(server, folder).fetched == 0
    (folder / f"{NAME}.json").unlink()  # put there by hand: then it is its hash that counts
    assert pull(server, folder).fetched == 0
    assert origin(folder / NAME)["repo"] == REPO
    assert len(server.files_asked()) == 1


def test_a_model_in_parts(server: HubServer, folder: Path) -> None:
    parts = {f"Q4_0/m-0000{n}-of-00003.gguf": b"GGUF" + bytes([n]) * 50_000 for n in (1, 2, 3)}
    server.repos = {REPO: parts}
    server.cuts = [60_000, 20_000]
    check, tell = stop_after(110_000)
    with pytest.raises(Stopped):
        pull(server, folder, check=check, tell=tell)
    assert not list(folder.glob("*.gguf")), "a model that lacks a part is not there"
    told: list[int] = []
    pulled = pull(server, folder, tell=lambda _phase, done: told.append(done))
    assert pulled.name == "m-00001-of-00003"
    assert pulled.size == sum(map(len, parts.values()))
    assert {path.name: path.read_bytes() for path in folder.glob("*.gguf")} == {
        path.rpartition("/")[2]: content for path, content in parts.items()
    }
    assert max(told) == pulled.size
    assert server.sent <= pulled.size + 70_000


def test_a_file_that_git_keeps_itself_is_checked_by_gits_hash(server: HubServer, folder: Path) -> None:
    server.plain.add(NAME)
    assert pull(server, folder).sha256 == hashlib.sha256(CONTENT).hexdigest()
    server.repos[REPO][NAME] = CONTENT[:-1] + b"!"
    server.wrong = 2
    with pytest.raises(Unusable, match="does not have the hash"):
        pull(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT, "what was there stays there"


# --- resumed


def test_after_a_cut_only_the_rest_is_fetched(server: HubServer, folder: Path) -> None:
    server.cuts = [100_000, 50_000]
    pull(server, folder)
    first, second, third = server.files_asked()
    assert (first.range, second.range, third.range) == (None, "bytes=100000-", "bytes=150000-")
    assert second.if_range == third.if_range == f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert server.sent == len(CONTENT), "no byte came twice"
    assert (folder / NAME).read_bytes() == CONTENT


def test_a_later_pull_goes_on_where_one_was_stopped(server: HubServer, folder: Path) -> None:
    check, tell = stop_after(120_000)
    with pytest.raises(Stopped):
        pull(server, folder, check=check, tell=tell)
    have = (folder / f"{NAME}.part").stat().st_size
    assert 120_000 <= have < len(CONTENT)
    pulled = pull(server, folder)
    assert pulled.fetched == len(CONTENT) - have
    assert server.files_asked()[-1].range == f"bytes={have}-"
    assert names(folder) == [NAME, f"{NAME}.json"]


def test_a_part_that_is_whole_needs_no_bytes(server: HubServer, folder: Path) -> None:
    check, tell = stop_after(len(CONTENT))
    with pytest.raises(Stopped):
        pull(server, folder, check=check, tell=tell)
    assert names(folder) == [f"{NAME}.part", f"{NAME}.part.json"]
    assert pull(server, folder).fetched == 0


@pytest.mark.parametrize("damage", ["changed on the hub", "note lost", "note broken", "longer than the file"])
def test_a_part_of_something_else_starts_anew(server: HubServer, folder: Path, damage: str) -> None:
    check, tell = stop_after(120_000)
    with pytest.raises(Stopped):
        pull(server, folder, check=check, tell=tell)
    part, note = folder / f"{NAME}.part", folder / f"{NAME}.part.json"
    match damage:
        case "changed on the hub":
            server.repos[REPO][NAME] = CONTENT[::-1].replace(b"\x00", b"\x01")
            server.repos[REPO][NAME] = b"GGUF" + server.repos[REPO][NAME]
        case "note lost":
            note.unlink()
        case "note broken":
            note.write_text("[1]")
        case "longer than the file":
            part.write_bytes(CONTENT * 2)
    pull(server, folder)
    assert server.files_asked()[-1].range is None
    assert (folder / NAME).read_bytes() == server.repos[REPO][NAME]


def test_a_server_without_ranges_sends_it_all_again(server: HubServer, folder: Path) -> None:
    server.no_ranges = True
    server.cuts = [100_000]
    pull(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT
    assert server.sent == len(CONTENT) + 100_000


def test_a_file_that_changed_behind_its_address_starts_anew(server: HubServer, folder: Path) -> None:
    """If-Range: the server says so by sending the whole; the hash then tells that it is not what was meant."""
    server.cuts = [100_000]

    def change(_sent: int) -> None:
        server.repos[REPO][NAME] = CONTENT[:-1] + b"!"

    commit = server.commit(REPO)
    server.commit = lambda _repo: commit  # type: ignore[method-assign]
    server.between = change
    with pytest.raises(Unusable, match="does not have the hash"):
        pull(server, folder)
    assert names(folder) == []


def test_a_damaged_part_is_found_by_its_hash_and_fetched_again(server: HubServer, folder: Path) -> None:
    check, tell = stop_after(120_000)
    with pytest.raises(Stopped):
        pull(server, folder, check=check, tell=tell)
    part = folder / f"{NAME}.part"
    part.write_bytes(b"GGUF" + b"?" * (part.stat().st_size - 4))
    pull(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT


# --- refused


def test_wrong_bytes_are_thrown_away_and_fetched_once_more(server: HubServer, folder: Path) -> None:
    server.wrong = 1
    pull(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT
    assert len(server.files_asked()) == 2


def test_wrong_bytes_again_are_the_end(server: HubServer, folder: Path) -> None:
    server.wrong = 9
    with pytest.raises(Unusable, match="does not have the hash that the hub tells; it was thrown away"):
        pull(server, folder)
    assert names(folder) == []
    assert len(server.files_asked()) == 2


def test_a_disk_that_is_too_small_is_said_before_the_first_byte(server: HubServer, folder: Path) -> None:
    needed = len(CONTENT) + download.MARGIN_BYTES
    with pytest.raises(NoSpace, match=r"has 537\.2 MB free; m-Q4_0 needs 0\.3 MB more, and 536\.9 MB must") as caught:
        pull(server, folder, free_bytes=lambda _: needed - 1)
    assert str(folder) not in caught.value.detail
    assert server.files_asked() == []
    assert names(folder) == []
    pull(server, folder, free_bytes=lambda _: needed)


def test_what_came_before_counts_for_the_room(server: HubServer, folder: Path) -> None:
    check, tell = stop_after(200_000)
    with pytest.raises(Stopped):
        pull(server, folder, check=check, tell=tell)
    have = (folder / f"{NAME}.part").stat().st_size
    pull(server, folder, free_bytes=lambda _: len(CONTENT) - have + download.MARGIN_BYTES)


def test_a_web_page_is_no_model(server: HubServer, folder: Path) -> None:
    page = b"\n<!DOCTYPE html><html>Please sign in</html>"
    server.answers.append((FILE, 200, {"Content-Type": "text/html"}, page))
    with pytest.raises(Unusable, match="a web page came"):
        pull(server, folder)
    assert names(folder) == []


def test_another_kind_of_file_is_no_model(server: HubServer, folder: Path) -> None:
    server.repos[REPO][NAME] = b"PK\x03\x04" + CONTENT
    with pytest.raises(Unusable, match="is no GGUF file"):
        pull(server, folder)
    assert names(folder) == []


def test_more_bytes_than_were_told_are_not_kept(server: HubServer, folder: Path) -> None:
    server.answers.append((FILE, 200, {}, CONTENT + b"more"))
    with pytest.raises(Unusable, match="longer than the hub says"):
        pull(server, folder)
    assert names(folder) == []


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Forbidden), (403, Forbidden), (404, NotFound), (416, Unusable), (206, Unusable)]
)
def test_refusals(server: HubServer, folder: Path, status: int, kind: type[BackchannelError]) -> None:
    server.answers.append((FILE, status, {}, b"no"))
    with pytest.raises(kind):
        pull(server, folder)
    assert len(server.files_asked()) == 1


def test_what_passes_is_waited_for(server: HubServer, folder: Path) -> None:
    server.answers += [(FILE, 503, {}, b"")] * 3
    pull(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT


def test_what_does_not_pass_gives_the_job_back(server: HubServer, folder: Path) -> None:
    server.answers += [(FILE, 503, {}, b"")] * 9
    with pytest.raises(Unavailable, match="stopped coming"):
        pull(server, folder, tries=3)
    assert len(server.files_asked()) == 3


def test_a_hub_that_says_when_to_come_back_is_heard(server: HubServer, folder: Path) -> None:
    server.answers.append((FILE, 429, {"Retry-After": "30"}, b""))
    with pytest.raises(Unavailable) as caught:
        pull(server, folder)
    assert caught.value.headers == {"Retry-After": "30"}
    assert len(server.files_asked()) == 1


def test_cuts_that_each_bring_something_are_no_failure(server: HubServer, folder: Path) -> None:
    server.cuts = [20_000] * 10
    pull(server, folder, tries=2)
    assert server.sent == len(CONTENT)


# --- others


def test_another_repository_does_not_replace_a_model_of_the_same_name(server: HubServer, folder: Path) -> None:
    pull(server, folder)
    server.repos[OTHER] = {NAME: CONTENT[::-1]}
    with pytest.raises(Conflict, match="Another model named m-Q4_0 is here already"):
        pull(server, folder, OTHER)
    server.repos[OTHER] = {NAME: CONTENT}
    assert pull(server, folder, OTHER).fetched == 0, "the very same bytes are the same model"


def test_a_file_of_unknown_origin_is_not_replaced(server: HubServer, folder: Path) -> None:
    folder.mkdir()
    (folder / NAME).write_bytes(b"GGUF of mine")
    with pytest.raises(Conflict):
        pull(server, folder)
    assert (folder / NAME).read_bytes() == b"GGUF of mine"


def test_a_newer_version_of_the_same_repository_replaces_the_older(server: HubServer, folder: Path) -> None:
    pull(server, folder)
    server.repos[REPO][NAME] = CONTENT + b"newer"
    pull(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT + b"newer"
    assert json.loads((folder / f"{NAME}.json").read_text())["revision"] == server.commit(REPO)


def test_two_at_once_do_not_write_into_each_other(server: HubServer, folder: Path) -> None:
    folder.mkdir()
    with (folder / f"{NAME}.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="has not ended yet"):
            pull(server, folder)
    pull(server, folder)


def test_the_token_is_for_the_hub_only(server: HubServer, folder: Path) -> None:
    server.token = "hf_secret"
    server.cuts = [100_000]
    pull(server, folder, token="hf_secret")
    for one in server.asked:
        assert one.authorization == ("Bearer hf_secret" if one.host == "hub" else None)
        assert one.user_agent == "backchannel"
    assert {one.host for one in server.asked} == {"hub", "cdn"}


def test_a_silent_server_is_left_as_soon_as_somebody_asks(server: HubServer, folder: Path) -> None:
    silent, stop = threading.Event(), threading.Event()

    def fall_silent(_sent: int) -> None:
        silent.set()
        stop.wait(20)

    server.between = fall_silent

    def check() -> None:
        if stopped.is_set():
            raise Stopped

    stopped = threading.Event()
    caught: list[BaseException] = []

    def work() -> None:
        try:
            pull(server, folder, check=check)
        except Stopped as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(silent.is_set, what="the first block")
    stopped.set()
    thread.join(5)
    assert not thread.is_alive()
    assert caught
    stop.set()


def test_a_folder_that_cannot_be_written_to_is_a_sentence(server: HubServer, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(Unusable, match="cannot be written to") as caught:
        pull(server, tmp_path / "models")
    assert str(tmp_path) not in caught.value.detail
