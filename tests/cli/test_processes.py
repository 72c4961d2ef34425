"""The table of processes, the Procfile and the settings agree with each other."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import click
import pytest

from cli.files import make_private, write_atomically
from cli.flower import login
from cli.launch import choose_port, is_free, needs_the_hub, worker_args
from cli.processes import PROCESSES, wanted
from cli.redis_server import redis_argv
from config.queues import WORKERS
from config.settings import Settings, get_settings, private_redis_socket, reset_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plain(settings: pytest.MonkeyPatch) -> Settings:
    """Settings without anything from outside."""
    settings.delenv("REDIS_URL")
    reset_settings()
    return get_settings()


def test_the_procfile_lists_the_same_processes() -> None:
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert lines == [f"{name}: backchannel run {name}" for name in PROCESSES]


def test_every_worker_and_every_queue_is_served(plain: Settings) -> None:
    for name, queues in WORKERS.items():
        args = worker_args(name, plain)
        assert args[args.index("-Q") + 1].split(",") == list(queues)
        assert args[args.index("-n") + 1] == f"{name}@%h"
        assert args[args.index("--pool") + 1] == "threads"


def test_what_is_given_from_outside_is_not_started(plain: Settings) -> None:
    assert [process.name for process in wanted(plain)] == list(PROCESSES)
    outside = plain.model_copy(update={"redis_url": "redis://elsewhere", "chroma_url": "http://elsewhere"})
    assert {process.name for process in wanted(outside)} == set(PROCESSES) - {"redis", "chroma"}


def test_stores_are_stopped_after_those_who_use_them() -> None:
    waves = {name: process.stop_wave for name, process in PROCESSES.items()}
    assert waves.pop("redis") > waves.pop("chroma") > max(waves.values())


def test_redis_listens_on_no_port_and_only_for_its_user(plain: Settings) -> None:
    argv = redis_argv(plain)
    options = dict(zip(argv[1::2], argv[2::2], strict=True))
    path = private_redis_socket(plain.data_dir)
    assert options["--port"] == "0"
    assert options["--unixsocket"] == str(path)
    assert options["--appendonly"] == "yes"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_private_folder_is_refused_when_it_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(click.ClickException, match="must be a folder of this user"):
        make_private(tmp_path / "link")


def test_a_loose_folder_of_ours_is_tightened(tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir(mode=0o755)
    make_private(tmp_path / "loose")
    assert stat.S_IMODE((tmp_path / "loose").stat().st_mode) == 0o700


def test_chroma_keeps_its_port_until_somebody_else_has_it(tmp_path: Path) -> None:
    remembered = tmp_path / "chroma.port"
    first = choose_port(remembered)
    assert choose_port(remembered) == first
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", first))
        squatter.listen()
        assert not is_free("127.0.0.1", first)
        assert choose_port(remembered) != first
    assert int(remembered.read_text()) != first


@pytest.mark.parametrize("rubbish", ["", "not a port", "0"])
def test_a_spoilt_port_file_is_written_anew(tmp_path: Path, rubbish: str) -> None:
    remembered = tmp_path / "chroma.port"
    remembered.write_text(rubbish)
    assert choose_port(remembered) == int(remembered.read_text())


def test_lines_that_say_nothing_are_left_out_of_the_log() -> None:
    redis, chroma = PROCESSES["redis"], PROCESSES["chroma"]
    assert (
        redis.legible("8570:M 21 Nov 2026 01:24:48.458 * Ready to accept connections") == "Ready to accept connections"
    )
    assert redis.legible("8570:C 21 Nov 2026 01:24:48.457 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo") is None
    assert chroma.legible("     \x1b[38;5;069m(((((((((    \x1b[38;5;203m(((((\x1b[38;5;220m####") is None
    assert chroma.legible("Address 127.0.0.1:1 is not available") == "Address 127.0.0.1:1 is not available"


def test_the_hub_is_asked_only_for_what_a_setting_names(tmp_path: Path) -> None:
    assert not needs_the_hub("")
    assert not needs_the_hub(str(tmp_path))
    assert needs_the_hub("BAAI/bge-small-en")


def test_flower_asks_for_a_login_unless_local(plain: Settings) -> None:
    assert login(plain) == ""
    plain.data_dir.mkdir(parents=True)
    required = plain.model_copy(update={"auth_mode": "required"})
    made_up = login(required)
    assert made_up == login(required)
    assert len(made_up.partition(":")[2]) >= 20
    assert stat.S_IMODE((plain.data_dir / "flower-password").stat().st_mode) == 0o600
    assert login(plain.model_copy(update={"flower_basic_auth": "me:secret"})) == "me:secret"
    with pytest.raises(click.ClickException, match="user:password"):
        login(plain.model_copy(update={"flower_basic_auth": "me"}))


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "first")
    write_atomically(path, "second")
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "second"
