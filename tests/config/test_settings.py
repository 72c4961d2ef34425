"""Settings come from the environment; a bad one stops the process with a sentence."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import parse_url

from config.settings import (
    MAX_SOCKET_PATH,
    Settings,
    SettingsError,
    get_settings,
    is_loopback,
    load_settings,
    private_redis_socket,
    reset_settings,
)

ROOT = Path(__file__).parent.parent.parent


def loaded(env: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        env.setenv(name, value)
    return load_settings()


def refused(env: pytest.MonkeyPatch, **values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(env, **values)
    return str(caught.value)


# --- what is refused, and how


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", "128.0.0.1"])
def test_local_mode_listens_on_loopback_only(settings: pytest.MonkeyPatch, host: str) -> None:
    words = refused(settings, HOST=host)
    assert f"HOST={host}" in words
    assert "AUTH_MODE=required" in words
    assert loaded(settings, HOST=host, AUTH_MODE="required").host == host


def test_flower_is_bound_by_the_same_rule(settings: pytest.MonkeyPatch) -> None:
    assert "FLOWER_HOST" in refused(settings, FLOWER_HOST="0.0.0.0")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "0"),
        ("PORT", "70000"),
        ("LOG_LEVEL", "LOUD"),
        ("QUEUE_LIMIT", "0"),
        ("LEASE_S", "-1"),
        ("SWEEP_S", "0"),
        ("AUTH_MODE", "none"),
        ("RAG_PASSAGES", "51"),
    ],
)
def test_a_bad_value_is_named(settings: pytest.MonkeyPatch, name: str, value: str) -> None:
    words = refused(settings, **{name: value})
    assert words.startswith(f"{name}: ")
    assert "\n" not in words
    assert "pydantic" not in words


def test_several_bad_values_are_all_named(settings: pytest.MonkeyPatch) -> None:
    assert len(refused(settings, PORT="x", FLOWER_PORT="y").splitlines()) == 2


def test_secrets_are_not_repeated(settings: pytest.MonkeyPatch) -> None:
    made = loaded(settings, SECRET_KEY="hunter2", POSTGRES_PASSWORD="hunter2")
    assert "hunter2" not in repr(made)
    assert "hunter2" not in refused(settings, PORT="x")


def test_any_origin_is_refused(settings: pytest.MonkeyPatch) -> None:
    assert "CORS_ORIGINS" in refused(settings, CORS_ORIGINS="http://a.example,*")


def test_a_lease_has_room_for_heartbeats(settings: pytest.MonkeyPatch) -> None:
    assert "LEASE_S" in refused(settings, LEASE_S="3", HEARTBEAT_S="2")


def test_a_dead_workers_job_runs_again_within_fifteen_seconds() -> None:
    defaults = Settings()
    assert defaults.lease_s + 2 * defaults.sweep_s <= 15
    assert defaults.heartbeat_s * 2 <= defaults.lease_s


# --- what is understood


def test_lists_are_separated_by_commas(settings: pytest.MonkeyPatch) -> None:
    made = loaded(settings, CORS_ORIGINS=" http://a.example/ , http://b.example,", ALLOWED_HOSTS="chat.example")
    assert made.cors_origins == ("http://a.example", "http://b.example")
    assert made.allowed_hosts == ("chat.example",)


def test_an_empty_value_is_no_value(settings: pytest.MonkeyPatch) -> None:
    assert loaded(settings, PORT="", DATABASE_URL="", LOG_LEVEL="debug").port == 8000
    assert get_settings().log_level in ("DEBUG", "WARNING")


def test_the_data_folder_is_absolute(settings: pytest.MonkeyPatch) -> None:
    assert loaded(settings, DATA_DIR="~/somewhere").data_dir == Path.home() / "somewhere"
    assert loaded(settings, DATA_DIR="here").data_dir == Path.cwd() / "here"


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({"DATABASE_URL": "postgres://u:p@h/d"}, "postgresql+psycopg://u:p@h/d"),
        ({"DATABASE_URL": "postgresql://u:p@h/d"}, "postgresql+psycopg://u:p@h/d"),
        ({"DATABASE_URL": "postgresql+psycopg://h/d"}, "postgresql+psycopg://h/d"),
        ({"DATABASE_URL": "sqlite:////tmp/x.db"}, "sqlite:////tmp/x.db"),
        ({"POSTGRES_HOST": "h"}, "postgresql+psycopg://postgres:@h:5432/backchannel"),
        (
            {"POSTGRES_HOST": "h", "POSTGRES_USER": "a@b", "POSTGRES_PASSWORD": "p/w:d", "POSTGRES_DB": "d"},
            "postgresql+psycopg://a%40b:p%2Fw%3Ad@h:5432/d",
        ),
        ({"POSTGRES_HOST": "h", "DATABASE_URL": "sqlite:///x"}, "sqlite:///x"),
    ],
)
def test_databases(settings: pytest.MonkeyPatch, values: dict[str, str], url: str) -> None:
    assert loaded(settings, **values).database == url


def test_without_any_url_everything_is_embedded(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings.delenv("REDIS_URL")
    made = loaded(settings)
    assert made.database == f"sqlite:///{tmp_path}/data/backchannel.db"
    assert made.redis_is_private
    assert made.chroma_is_private
    assert made.redis.startswith("unix://")
    assert made.broker.startswith("redis+socket://")


def test_given_servers_are_used(settings: pytest.MonkeyPatch) -> None:
    made = loaded(settings, REDIS_URL="redis://cache:6379/1", CHROMA_URL="http://chroma:8000")
    assert (made.redis, made.broker) == ("redis://cache:6379/1", "redis://cache:6379/1")
    assert not made.redis_is_private
    assert not made.chroma_is_private


@pytest.mark.parametrize("folder", ["/short", "/" + "long/" * 40, "/with space/ünï", "/100%/x"])
def test_the_private_sockets_path_fits_and_is_its_own(settings: pytest.MonkeyPatch, folder: str) -> None:
    socket = private_redis_socket(Path(folder))
    assert len(str(socket).encode()) <= MAX_SOCKET_PATH
    assert private_redis_socket(Path(folder)) == socket
    assert private_redis_socket(Path(folder + "2")) != socket
    settings.delenv("REDIS_URL")
    assert parse_url(loaded(settings, DATA_DIR=folder).redis)["path"] == str(socket)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@given(st.text(max_size=20))
def test_nothing_else_is_loopback_by_accident(host: str) -> None:
    if is_loopback(host):
        assert re.fullmatch(r"localhost|127(\.\d+){3}|\[*[0:]*1\]*|.*%.*|.*127\..*", host)


def test_settings_are_read_once_however_many_ask(settings: pytest.MonkeyPatch) -> None:
    reset_settings()
    found: list[Settings] = []
    threads = [threading.Thread(target=lambda: found.append(get_settings())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in found}) == 1


def test_the_example_names_settings_that_exist() -> None:
    example = ROOT / ".env.example"
    named = set(re.findall(r"^#?\s*([A-Z][A-Z0-9_]+)=", example.read_text(), re.MULTILINE))
    assert named
    unknown = named - {name.upper() for name in Settings.model_fields}
    assert unknown == set()
