"""Alembic's entry: runs migrations against the database the settings name."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import JSON, Connection, text
from sqlmodel.sql.sqltypes import AutoString

from config.settings import get_settings
from storage import fulltext, schema, tables, titles
from storage.database import make_engine

MIGRATION_LOCK = 0x6261636B  # any number, the same in every process


def render_item(kind: str, item: Any, _autogen: Any) -> str | Literal[False]:
    """Our own column types by their names, so that a migration says what a table says."""
    if kind == "type" and isinstance(item, tables.UtcDateTime):
        return "UtcDateTime()"
    if kind == "type" and isinstance(item, AutoString):
        return f"sa.String(length={item.length})" if item.length else "sa.String()"
    return "Json" if kind == "type" and isinstance(item, JSON) else False


def is_a_class(_thing: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    """False for what is made of statements: the full-text index and the tables that SQLite keeps for it."""
    return not (kind in ("table", "index") and (name or "").startswith((*fulltext.NAMES, *titles.NAMES)))


def run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()
    context.configure(
        connection=connection,
        target_metadata=schema.metadata,
        render_item=render_item,
        include_object=is_a_class,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


engine = make_engine(get_settings().database).execution_options(sqlite_begin="BEGIN IMMEDIATE")
with engine.connect() as connection:
    run(connection)
engine.dispose()
