"""`backchannel user`: who may sign in."""

from __future__ import annotations

from typing import Any

import click

from cli.accounts import ask_password, changing, looking, remove_account
from cli.output import Group, age, note, plural, print_json, printable, show, table

Json = dict[str, Any]

command = Group("user", help="Add, list, disable, remove people; they sign in where AUTH_MODE=required.")
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text for people.")
stdin_option = click.option("--password-stdin", is_flag=True, help="Read the password from stdin instead of asking.")


@command.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="May do everything; the first one takes over what the local owner has.")
@click.option("--service", is_flag=True, help="A program: it has no password, give it a key.")
@click.option("--email", help="Also signs in with the issuer that vouches for this address.")
@click.option("--no-password", is_flag=True, help="Signs in with the issuer or a key only.")
@click.option("--tokens-per-day", type=click.IntRange(min=0), help="Instead of TOKENS_PER_DAY; 0: no bound.")
@stdin_option
@as_json_option
def add(
    name: str,
    admin: bool,
    service: bool,
    email: str | None,
    no_password: bool,
    tokens_per_day: int | None,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Add somebody who signs in as NAME."""
    from storage import users

    if admin and service:
        raise click.UsageError("--admin and --service exclude each other.")
    if password_stdin and (no_password or service):
        raise click.UsageError("--password-stdin gives a password, which --no-password and --service have none of.")
    password = None if no_password or service else ask_password(password_stdin)
    role = "admin" if admin else "service" if service else "user"
    with changing(make=True) as session:
        user = users.add(session, name, role, email=email, password=password)
        user.tokens_per_day = tokens_per_day
        told = _as_json(user)
    if as_json:
        print_json(told)
        return
    more = ", and has what there was before" if told["is_local_owner"] else ""
    click.echo(f"{printable(told['username'])} is here as {role}{more}.")
    if service:
        click.echo(f"Its key: backchannel key add {printable(told['username'])}")


@command.command("list")
@as_json_option
def list_users(as_json: bool) -> None:
    """List everybody."""
    from storage import users

    with looking() as session:
        rows = [_as_json(user) for user in users.page(session)]
    if as_json:
        print_json({"users": rows, "total": len(rows)})
        return
    shown = table("name", "role", "e-mail", "signs in with", "since")
    for row in rows:
        ways = (
            "–" if not row["is_active"] else "password" if row["has_password"] else "issuer" if row["email"] else "key"
        )
        role = row["role"] if row["is_active"] else f"{row['role']}, disabled"
        name = row["username"] or row["name"]
        shown.add_row(printable(name), role, printable(row["email"] or "–"), ways, age(row["created_at"]))
    show(shown)


def _as_json(user: Any) -> Json:
    from storage.tables import LOCAL_OWNER

    names = ("id", "name", "username", "email", "role", "is_active", "tokens_per_day")
    return {name: getattr(user, name) for name in names} | {
        "has_password": user.password_hash is not None,
        "is_local_owner": user.id == LOCAL_OWNER,
        "created_at": user.created_at.isoformat(),
    }


@command.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Sign NAME out everywhere and let nobody in by that name or its keys; nothing is deleted."""
    _set_active(name, False)
    click.echo(f"{printable(name)} is disabled: sessions are over, tokens and keys open nothing.")


@command.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Undo `disable`; sessions stay over, keys work again."""
    _set_active(name, True)
    click.echo(f"{printable(name)} may sign in again.")


def _set_active(name: str, is_active: bool) -> None:
    from storage import users

    with changing() as session:
        users.set_active(session, users.require(session, name), is_active)


@command.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove NAME for good, with every conversation, file, draft and job; `export` first what is to be kept."""
    from storage import removals, users

    with looking() as session:
        user = users.require(session, name)
        removals.heir(session, user)
        theirs = removals.owned(session, user.id)
    told = ", ".join(plural(number, what.removesuffix("s")) for what, number in theirs.items())
    if not yes:
        click.confirm(f"{printable(name)} has {told}. Remove all of it for good?", abort=True, err=True)
    with changing() as session:
        heir_id = removals.begin(session, users.require(session, name))
    remove_account(user.id, heir_id)
    if as_json:
        print_json({"id": user.id, "removed": theirs})
        return
    click.echo(f"{printable(name)} is removed, with {told}.")
    note("What the search index and a bucket hold of it goes with the server's next rounds.")


@command.command("password")
@click.argument("name")
@stdin_option
def password(name: str, password_stdin: bool) -> None:
    """Give NAME a new password; sessions and tokens of the old one are over."""
    from storage import users

    with looking() as session:
        users.require(session, name)
    given = ask_password(password_stdin)
    with changing() as session:
        users.set_password(session, users.require(session, name), given)
    click.echo(f"{printable(name)} has a new password.")
