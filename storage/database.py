"""The database: SQLite in WAL mode or PostgreSQL, and the one place where a transaction commits."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from config.settings import get_settings

if TYPE_CHECKING:
    from alembic.config import Config

# How long a writer waits for its turn before giving up; slices are kept far below it.
BUSY_TIMEOUT_S = 30

# What other rooms need of SQLAlchemy, so that only this one imports it.
DatabaseError = SQLAlchemyError
__all__ = [
    "DatabaseError",
    "Session",
    "after_commit",
    "dispose",
    "is_away",
    "is_duplicate",
    "is_unstorable",
    "reading",
    "transaction",
    "upgrade",
]

_AFTER_COMMIT = "after_commit"
_lock = threading.Lock()
_engines: tuple[Engine, Engine] | None = None


def _dumps(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def make_engine(url: str) -> Engine:
    """An engine whose SQLite connections are in WAL mode and whose transactions say how they begin."""
    parsed = make_url(url)
    options: dict[str, Any] = {
        "hide_parameters": True,  # what people said has no place in an error message
        "json_serializer": _dumps,
        "json_deserializer": orjson.loads,
        "pool_pre_ping": parsed.get_backend_name() != "sqlite",
    }
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        options |= {"connect_args": {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}}
    # The connection that was used last has its pages in its cache.
    engine = create_engine(url, pool_size=16, max_overflow=64, pool_timeout=60, pool_use_lifo=True, **options)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver must not open transactions of its own
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute(f"PRAGMA synchronous={get_settings().sqlite_synchronous}")
    cursor.execute("PRAGMA wal_autocheckpoint=4000")  # 16 MB: an import writes each of its pages fewer times
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA cache_size=-16384")  # 16 MiB, of each of many connections; four times as much gains nothing
    cursor.execute("PRAGMA temp_store=MEMORY")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later fails at once when another wrote in between; taking the
    # write lock at the start waits instead.
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _get_engines() -> tuple[Engine, Engine]:
    global _engines  # noqa: PLW0603
    with _lock:
        if _engines is None:
            engine = make_engine(get_settings().database)
            _engines = (engine, engine.execution_options(sqlite_begin="BEGIN IMMEDIATE"))
        return _engines


def dispose() -> None:
    """Close all connections and forget the engine (tests, and the end of a process)."""
    global _engines  # noqa: PLW0603
    with _lock:
        if _engines is not None:
            _engines[0].dispose()
        _engines = None


@contextmanager
def reading() -> Iterator[Session]:
    """A session for queries; nothing it changes is kept."""
    with Session(_get_engines()[0], expire_on_commit=False) as session:
        yield session


@contextmanager
def transaction() -> Iterator[Session]:
    """One unit of work: commits when the block ends, rolls back when it raises, then runs what waits for the commit."""
    with Session(_get_engines()[1], expire_on_commit=False) as session:
        yield session
        session.commit()
        calls: list[Callable[[], object]] = session.info.pop(_AFTER_COMMIT, [])
    for call in calls:
        call()


def after_commit(session: Session, call: Callable[[], object]) -> None:
    """Run `call` once this transaction is in the database. A rollback forgets it with the session."""
    session.info.setdefault(_AFTER_COMMIT, []).append(call)


def is_away(error: Exception) -> bool:
    """True when the database cannot be reached or cannot take its turn now: worth trying again."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | PoolTimeout) and "no such" not in str(error)


def is_duplicate(error: Exception) -> bool:
    """True for a violated unique constraint: somebody else wrote the same thing first."""
    if not isinstance(error, IntegrityError):
        return False
    code = getattr(error.orig, "sqlite_errorname", "") or getattr(error.orig, "sqlstate", "")
    return code in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "23505")


def is_unstorable(error: Exception) -> bool:
    """True for a value that this database cannot hold, such as text with a NUL in PostgreSQL."""
    return isinstance(error, DataError)


def alembic_config() -> Config:
    from alembic.config import Config  # a tenth of a second of every process that does not migrate

    here = Path(__file__).parent
    config = Config(str(here / "alembic.ini"))
    config.set_main_option("script_location", str(here / "migrations"))
    return config


def upgrade() -> None:
    """Bring the schema to the newest migration. Safe to run from several processes at once on PostgreSQL and SQLite."""
    from alembic import command

    command.upgrade(alembic_config(), "head")
