"""Many rows in one statement, past what SQLAlchemy does for each of them: that costs more than writing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

from sqlalchemy import JSON, Boolean, Dialect, Table
from sqlalchemy.sql.schema import ScalarElementColumnDefault
from sqlalchemy.types import TypeEngine
from sqlmodel import Session

from storage.tables import UtcDateTime

Converter = Callable[[Any], Any]  # to what the driver takes


def insert(session: Session, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Rows as `sqlalchemy.insert` takes them. Those with the same columns go together, so their order may change."""
    alike: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for row in rows:
        alike.setdefault(tuple(row), []).append(tuple(row.values()))
    session.flush()
    connection = session.connection()
    for names, values in alike.items():
        plan = _plan(connection.dialect, table, names)
        connection.exec_driver_sql(plan.statement, plan.bound(values))


class _Plan(NamedTuple):
    statement: str
    converters: list[tuple[int, Converter]]  # of the columns at these places
    defaults: list[Any]  # of the columns that the rows do not have, behind the others

    def bound(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        columns: list[Iterable[Any]] = [*zip(*rows, strict=True), *map(repeat, self.defaults)]
        for place, convert in self.converters:
            columns[place] = map(convert, columns[place])
        return list(zip(*columns, strict=False))  # the defaults have no end


@lru_cache(maxsize=64)
def _plan(dialect: Dialect, table: Table, names: tuple[str, ...]) -> _Plan:
    known = {
        column.name: column.default.arg
        for column in table.columns
        if isinstance(column.default, ScalarElementColumnDefault) and column.name not in names
    }
    columns = [table.columns[name] for name in (*names, *known)]
    made = ((place, _converter(column.type, dialect)) for place, column in enumerate(columns))
    quote = dialect.identifier_preparer.quote
    listed = ", ".join(quote(column.name) for column in columns)
    marks = ", ".join(["?" if dialect.paramstyle == "qmark" else "%s"] * len(columns))
    return _Plan(
        f"INSERT INTO {quote(table.name)} ({listed}) VALUES ({marks})",  # noqa: S608 - names of our own schema
        [(place, convert) for place, convert in made if convert is not None],
        list(known.values()),
    )


def _converter(of: TypeEngine[Any], dialect: Dialect) -> Converter | None:
    """SQLAlchemy's own, or what does the same in a fraction of its time."""
    convert = of.dialect_impl(dialect).bind_processor(dialect)
    if convert is None or isinstance(of, Boolean):  # the drivers take a bool as it is
        return None
    if dialect.name == "sqlite" and isinstance(of, UtcDateTime):
        return lambda value: (
            value.isoformat(" ", "microseconds")[:26] if value is not None and value.tzinfo is UTC else convert(value)
        )
    if dialect.name == "sqlite" and isinstance(of, JSON):
        return lambda value: "{}" if value == {} else convert(value)
    return convert
