"""`backchannel key`: API keys, for programs and for this command on other machines."""

from __future__ import annotations

from typing import Any

import click

from cli.accounts import changing, looking
from cli.output import Group, age, note, print_json, printable, show, table
from cli.users import as_json_option

Json = dict[str, Any]

command = Group("key", help="Add, list, revoke API keys (X-API-Key).")


@command.command("add")
@click.argument("user")
@click.option("--name", default="", help="What it is for.")
@as_json_option
def add(user: str, name: str, as_json: bool) -> None:
    """Make a key that acts as USER, and print it: this once."""
    from storage import keys, users

    with changing() as session:
        row, key = keys.make(session, users.require(session, user).id, name)
    if as_json:
        print_json({"id": row.id, "prefix": row.prefix, "key": key})
        return
    note("This is shown once; only its SHA-256 is kept.")
    click.echo(key)


@command.command("list")
@click.option("--user", help="Only this one's.")
@as_json_option
def list_keys(user: str | None, as_json: bool) -> None:
    """List keys, newest first, by what they begin with."""
    from storage import keys, users

    with looking() as session:
        owner = users.require(session, user).id if user else None
        rows = [_as_json(row, owner) for row, owner in keys.all_of(session, owner)]
    if as_json:
        print_json({"keys": rows, "total": len(rows)})
        return
    shown = table("key", "user", "for", "made", "last used", "state")
    for row in rows:
        state = "revoked" if row["revoked_at"] else "good"
        used = age(row["last_used_at"])
        shown.add_row(
            f"{row['prefix']}…", printable(row["user"]), printable(row["name"]), age(row["created_at"]), used, state
        )
    show(shown)


def _as_json(row: Any, user: Any) -> Json:
    times = {name: getattr(row, name) for name in ("created_at", "last_used_at", "revoked_at")}
    return {
        "id": row.id,
        "prefix": row.prefix,
        "name": row.name,
        "user": user.username or user.name,
        **{name: moment.isoformat() if moment else None for name, moment in times.items()},
    }


@command.command("revoke")
@click.argument("key")
def revoke(key: str) -> None:
    """Make a key open nothing any more. KEY is its id, or at least six characters of its beginning."""
    from storage import keys

    with changing() as session:
        row = keys.revoke(session, key)
    click.echo(f"{row.prefix}… is revoked.")
