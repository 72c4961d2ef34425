"""Fixtures: a private Redis for the run, an empty database per test on SQLite and, where it is there, PostgreSQL."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

# The Celery app reads its broker when it is imported, so the run's Redis has its address before anything else.
# A short path: a Unix socket's must fit 108 bytes.
RUN_DIR = Path(tempfile.mkdtemp(prefix="bc-tests-"))
RUN_DIR.chmod(0o711)  # PostgreSQL runs as its own user below it
_OTHERS = ("DATABASE_URL", "CHROMA_URL", "AUTH_MODE", "HOST", "PORT", "CORS_ORIGINS", "FRONTEND_URL", "ALLOWED_HOSTS")
for _name in [
    name
    for name in os.environ
    if name.startswith(("POSTGRES_", "MODEL_", "EMBEDDING_", "AWS_", "VISION_")) or name in _OTHERS
]:
    del os.environ[_name]
os.environ["REDIS_URL"] = f"unix://{RUN_DIR}/redis/redis.sock"
os.environ["DATA_DIR"] = str(RUN_DIR / "data")
os.environ["LOG_LEVEL"] = "WARNING"

from config.settings import Settings, get_settings, reset_settings  # noqa: E402
from tests import servers  # noqa: E402
from tests.standins import s3  # noqa: E402

Settings.model_config["env_file"] = None  # a developer's .env names a database that no test may touch


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How `make test` shares the tests out."""
    from tests.sharing import ProductsInTurn

    return ProductsInTurn(config, log) if config.option.dist == "loadfile" else None


def pytest_unconfigure() -> None:
    shutil.rmtree(RUN_DIR, ignore_errors=True)


@pytest.fixture(scope="session")
def _redis() -> Iterator[str]:
    with servers.redis_server(RUN_DIR / "redis") as (url, _):
        yield url


@pytest.fixture(scope="session")
def _postgres() -> Iterator[str]:
    if servers.postgres_binary("initdb") is None:
        pytest.skip("no PostgreSQL on this machine")
    with servers.postgres_server(RUN_DIR / "postgres") as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_schema(_postgres: str) -> str:
    """The URL of a database with the current schema: emptying it takes a tenth of what copying it does."""
    url = _postgres.format(database="schema")
    _create_database(_postgres, "schema")
    _make_tables(url.replace("postgresql://", "postgresql+psycopg://"))
    return url


@pytest.fixture(scope="session")
def _sqlite_schema() -> Path:
    """A file with the current schema, to be copied: quicker than making the tables for every test."""
    file = RUN_DIR / "schema.db"
    _make_tables(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def chroma() -> Iterator[str]:
    with servers.chroma_server(RUN_DIR / "chroma") as url:
        yield url


@pytest.fixture(scope="session")
def _s3() -> Iterator[s3.S3]:
    with s3.s3_server() as server:
        yield server


@pytest.fixture
def bucket(_s3: s3.S3, settings: pytest.MonkeyPatch) -> s3.S3:
    """An empty bucket, which the settings name."""
    for name, value in _s3.environment.items():
        settings.setenv(name, value)
    reset_settings()
    return s3.emptied(_s3)


@pytest.fixture
def clean_redis(_redis: str) -> str:
    """The run's Redis, emptied."""
    import redis

    from storage import queue

    redis.Redis.from_url(_redis).flushall()
    queue._paused_until = 0.0  # a test without Redis may have found the broker away
    return _redis


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests (`pytest.mark.anyio`) run on asyncio, as the web process does."""
    return "asyncio"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A fresh DATA_DIR; change settings by `settings.setenv(...)` before the first use."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    reset_settings()
    yield monkeypatch
    reset_settings()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, settings: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty database with the current schema and the local owner; yields the dialect's name."""
    yield from _fresh_database(request, settings, request.param)


@pytest.fixture
def sqlite(request: pytest.FixtureRequest, settings: pytest.MonkeyPatch) -> Iterator[str]:
    """`database` where the dialect does not matter."""
    yield from _fresh_database(request, settings, "sqlite")


def _fresh_database(request: pytest.FixtureRequest, settings: pytest.MonkeyPatch, dialect: str) -> Iterator[str]:
    from storage import backlog, users
    from storage import database as db

    db.dispose()
    backlog._means.clear()
    if dialect == "postgresql":
        url = request.getfixturevalue("_postgres_schema")
        _empty(url)
        settings.setenv("DATABASE_URL", url)
        reset_settings()
    else:
        file = Path(get_settings().database.removeprefix("sqlite:///"))
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(request.getfixturevalue("_sqlite_schema"), file)
    with db.transaction() as session:
        users.ensure_local_owner(session)
    yield dialect
    db.dispose()


def _make_tables(url: str) -> None:
    from storage.database import make_engine
    from storage.schema import metadata

    engine = make_engine(url)
    metadata.create_all(engine)
    engine.dispose()


def _create_database(server: str, name: str) -> None:
    with psycopg.connect(server.format(database="postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')


def _empty(url: str) -> None:
    """All rows go, at once and in any order; a transaction that a failed test left open goes first."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            SET session_replication_role = replica;
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid();
            DO $$ DECLARE name text; BEGIN
                FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
                LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
            END $$
            """
        )
