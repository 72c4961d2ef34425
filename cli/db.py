"""`backchannel db`: migrations of the database that the settings name."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import click

from config.settings import get_settings


@dataclass(frozen=True, slots=True)
class Revisions:
    current: str | None
    newest: str | None


def where(url: str) -> str:
    """The database in a sentence, without its password."""
    if url.startswith("sqlite"):
        return "the SQLite file " + url.partition(":///")[2]
    parts = urlsplit(url)
    kind, name = parts.scheme.partition("+")[0], parts.path.lstrip("/")
    return f"the {kind} database {name} at {parts.hostname}:{parts.port or 5432}"


def revisions() -> Revisions:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from storage.database import alembic_config, reading

    newest = ScriptDirectory.from_config(alembic_config()).get_current_head()
    with reading() as session:
        return Revisions(MigrationContext.configure(session.connection()).get_current_revision(), newest)


@contextmanager
def explained() -> Iterator[None]:
    """One sentence for a terminal instead of a traceback; LOG_LEVEL=DEBUG shows the traceback."""
    try:
        yield
    except click.ClickException:
        raise
    except Exception as error:
        if get_settings().log_level == "DEBUG":
            raise
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise click.ClickException(f"Cannot use {where(get_settings().database)}: {reason}") from error


@click.group("db", help="Database migrations.")
def command() -> None:
    from config.logging import configure_logging

    configure_logging("db")
    logging.getLogger("alembic").setLevel(logging.WARNING)


@command.command(help="Bring the database to the newest schema.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--quiet", is_flag=True, help="Say something only when something changed.")
def upgrade(as_json: bool, quiet: bool) -> None:
    from storage.database import upgrade as run_migrations

    with explained():
        found = revisions()
        before, after = found.current, found.newest
        if before != after:
            run_migrations()
    if as_json:
        click.echo(json.dumps({"before": before, "current": after, "changed": before != after}))
    elif before != after:
        click.echo(f"the schema was brought from {before or 'nothing'} to {after}")
    elif not quiet:
        click.echo(f"the schema is already the newest: {after}")


@command.command(help="Say which schema the database has.")
@click.option("--json", "as_json", is_flag=True)
def current(as_json: bool) -> None:
    with explained():
        found = revisions()
    if as_json:
        up_to_date = found.current == found.newest
        click.echo(json.dumps({"current": found.current, "newest": found.newest, "up_to_date": up_to_date}))
    elif found.current == found.newest:
        click.echo(f"{found.current}, the newest")
    else:
        click.echo(f"{found.current or 'nothing yet'}; the newest is {found.newest}: run backchannel db upgrade")


@command.command(help="Compare the tables in the code with what the migrations make; for developers.")
def check() -> None:
    from alembic import command as alembic
    from alembic.util.exc import CommandError

    from storage.database import alembic_config

    try:
        with explained(), open(os.devnull, "w") as devnull:  # noqa: PTH123 - a device, not a path of ours
            config = alembic_config()
            config.stdout = devnull
            alembic.check(config)
    except CommandError as error:
        raise click.ClickException(str(error)) from error
    click.echo("the migrations make what the tables say")


@command.command(help="Write a new migration from the difference between the tables in the code and the database.")
@click.argument("description")
def revision(description: str) -> None:
    from alembic import command as alembic

    from storage.database import alembic_config

    with explained():
        found = revisions()
        if found.current != found.newest:
            raise click.ClickException("The database is older than its migrations: run backchannel db upgrade first.")
        number = f"{int(found.newest or 0) + 1:04d}"
        with open(os.devnull, "w") as devnull:  # noqa: PTH123 - a device, not a path of ours
            config = alembic_config()
            config.stdout = devnull
            alembic.revision(config, description, autogenerate=True, rev_id=number)
    click.echo(f"wrote migration {number}: {description}; read it before you commit it")
