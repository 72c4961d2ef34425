"""What `backchannel user` and `backchannel key` share: they work on the database, whether or not the server runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.client import ClientError
from cli.db import explained
from config.errors import BackchannelError
from config.settings import get_settings

if TYPE_CHECKING:
    from storage.database import Session


@contextlib.contextmanager
def changing(*, make: bool = False) -> Iterator[Session]:
    """A transaction; `make` a database where there is none yet. Raises ClientError."""
    from storage.database import transaction, upgrade

    with explained(), _said():
        if make:
            upgrade()
        else:
            _require_database()
        with transaction() as session:
            yield session


@contextlib.contextmanager
def looking() -> Iterator[Session]:
    from storage.database import reading

    with explained(), _said():
        _require_database()
        with reading() as session:
            yield session


@contextlib.contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except BackchannelError as error:
        raise ClientError(error.detail, error.code, error.status) from None


def _require_database() -> None:
    """Looking must not make one."""
    url = get_settings().database
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise ClientError("There is no database yet: `backchannel user add NAME` makes one.", "empty")


def ask_password(from_stdin: bool) -> str:
    """Typed twice and not shown, or the first line of stdin: what stands in a command line, everybody can read."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    typed: str = click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True)
    return typed
