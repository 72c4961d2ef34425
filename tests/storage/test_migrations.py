"""Migrations build what the tables say, on an empty database of either kind."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from alembic import command
from sqlalchemy import inspect

from config.settings import get_settings, reset_settings
from storage import users
from storage.database import alembic_config, dispose, make_engine, transaction, upgrade
from storage.ids import new_id
from tests import factories
from tests.conftest import _create_database


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, settings: pytest.MonkeyPatch) -> str:
    """A database without tables; its dialect."""
    dispose()
    if request.param == "postgresql":
        server, name = request.getfixturevalue("_postgres"), "m" + new_id().replace("-", "")
        _create_database(server, name)
        settings.setenv("DATABASE_URL", server.format(database=name))
        reset_settings()
    return str(request.param)


def test_upgrade_builds_what_the_tables_say(empty: str) -> None:
    upgrade()
    command.check(alembic_config())  # raises when a table and the migrations differ


def test_upgrade_twice_changes_nothing(empty: str) -> None:
    upgrade()
    with transaction() as session:
        users.ensure_local_owner(session)
    job_id = factories.job()
    upgrade()
    assert factories.load(job_id).status == "queued"
    dispose()


def test_upgrades_at_once_do_not_meet(empty: str) -> None:
    """Two copies that start together."""
    make = [sys.executable, "-c", "from storage.database import upgrade; upgrade()"]
    started = [subprocess.Popen(make, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate()[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    command.check(alembic_config())


def test_downgrade_leaves_nothing(empty: str) -> None:
    upgrade()
    command.downgrade(alembic_config(), "base")
    engine = make_engine(get_settings().database)
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    engine.dispose()


def test_sqlite_is_in_wal_mode_with_foreign_keys(sqlite: str) -> None:
    from sqlalchemy import text

    with transaction() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert session.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    assert sqlite3.threadsafety == 3, "connections are handed from thread to thread"
