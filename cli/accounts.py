"""What `backchannel user` and `backchannel key` share: they work on the database, whether or not the server runs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.db import explained
from cli.problems import ClientError
from config.errors import BackchannelError
from config.settings import get_settings

# A job that is asked to stop does so within one token or one item.
JOBS_END_WITHIN_S = 60.0
_LOOK_AGAIN_S = 0.1
# What an upload is given at most between its bytes and its row: younger bytes are left to the hourly upkeep.
_UPLOAD_S = 3600.0

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


def remove_account(user_id: str, heir_id: str) -> None:
    """All that is theirs and at last the account, in small transactions; ended anywhere, it can be begun again. Raises
    ClientError where a job does not stop."""
    from storage import removals

    deadline = time.monotonic() + JOBS_END_WITHIN_S
    while True:
        with changing() as session:
            is_busy = removals.end_jobs(session, user_id) > 0
        with changing() as session:
            if not is_busy and not removals.drop_conversations(session, user_id):
                is_busy = not removals.finish(session, user_id, heir_id)
                if not is_busy:
                    break
        if is_busy and time.monotonic() > deadline:
            raise ClientError(
                "A job of this account does not stop. Nobody can sign in to it now; the same command again goes on.",
                "conflict",
            )
        if is_busy:
            time.sleep(_LOOK_AGAIN_S)
    _remove_bytes()


def _remove_bytes() -> None:
    """Of uploads that nobody has any more."""
    from storage import backlog, blobs

    with looking() as session:
        needed = backlog.needed_blobs(session)
    blobs.purge(needed, older_than_s=_UPLOAD_S, now_s=time.time())


def ask_password(from_stdin: bool) -> str:
    """Typed twice and not shown, or the first line of stdin: what stands in a command line, everybody can read."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    typed: str = click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True)
    return typed
