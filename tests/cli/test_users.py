"""`backchannel user` and `backchannel key`: on the database, whether or not the server runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner, Result

from cli.main import cli
from config.settings import get_settings
from storage import database, keys, passwords, users
from storage.database import reading
from storage.tables import LOCAL_OWNER

PASSWORD = "correct horse battery"
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, settings: pytest.MonkeyPatch) -> None:
    """The same hash, at a cost that tests can pay; no database yet."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    monkeypatch.setenv("COLUMNS", "200")
    database.dispose()


def run(*args: str, input: str = "") -> Result:
    result = CliRunner().invoke(cli, list(args), input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def told(*args: str, input: str = "") -> Json:
    result = run(*args, "--json", input=input)
    assert result.exit_code == 0, result.output
    found: Json = json.loads(result.stdout)
    return found


def refused(*args: str, input: str = "") -> str:
    result = run(*args, input=input)
    assert result.exit_code != 0
    assert result.stdout == ""
    assert str(get_settings().data_dir) not in result.stderr
    return result.stderr


def test_the_first_admin_before_the_first_start() -> None:
    result = run("user", "add", "Alice", "--admin", "--password-stdin", input=f"{PASSWORD}\n")
    assert "alice is here as admin, and has what there was before." in result.stdout
    with reading() as session:
        user = users.require(session, "alice")
        assert (user.id, user.role) == (LOCAL_OWNER, "admin")
        assert passwords.is_right(PASSWORD, user.password_hash)


def test_a_password_is_asked_for_twice_and_never_shown() -> None:
    result = run("user", "add", "alice", input=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output
    assert "not" in run("user", "add", "bob", input=f"{PASSWORD}\nsomething else\n\n").stderr
    assert "no such option" in run("user", "add", "bob", "--password", PASSWORD).stderr.lower()
    assert told("user", "list")["total"] == 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("alice",), "somebody of that name"),
        (("a b",), "user name"),
        (("bob", "--email", "x"), "e-mail"),
        (("bob", "--admin", "--service"), "exclude"),
        (("bob", "--service", "--password-stdin"), "none of"),
        (("bob", "--tokens-per-day", "-1"), "-1"),
    ],
)
def test_what_cannot_be_added(args: tuple[str, ...], words: str) -> None:
    run("user", "add", "alice", "--no-password")
    extra = () if "--service" in args or "--password-stdin" in args else ("--no-password",)
    assert words in refused("user", "add", *args, *extra)
    assert told("user", "list")["total"] == 2


def test_a_password_that_is_too_short_adds_nobody() -> None:
    assert "12 characters" in refused("user", "add", "alice", "--password-stdin", input="short\n")
    assert [row["username"] for row in told("user", "list")["users"]] in ([], [None])


def test_the_list_says_how_people_sign_in() -> None:
    told("user", "add", "alice", "--password-stdin", input=PASSWORD)
    told("user", "add", "bob", "--no-password", "--email", "bob@example.org", "--tokens-per-day", "5")
    run("user", "disable", "bob")
    output = run("user", "list").stdout
    assert "user, disabled" in output
    rows = {row["username"]: row for row in told("user", "list")["users"]}
    assert rows["bob"].items() >= {"is_active": False, "tokens_per_day": 5, "has_password": False}.items()
    assert rows["alice"]["has_password"] is True
    assert "argon2" not in json.dumps(rows)


def test_disable_enable_and_a_new_password() -> None:
    told("user", "add", "alice", "--password-stdin", input=PASSWORD)
    assert "disabled" in run("user", "disable", "Alice").stdout
    assert "again" in run("user", "enable", "alice").stdout
    assert "new password" in run("user", "password", "alice", "--password-stdin", input="another good password").stdout
    with reading() as session:
        user = users.require(session, "alice")
        assert user.is_active
        assert passwords.is_right("another good password", user.password_hash)
    for args in (("disable",), ("enable",), ("password", "--password-stdin")):
        assert "nobody of that name" in refused("user", args[0], "nobody", *args[1:])


def test_keys_are_shown_once() -> None:
    run("user", "add", "bot", "--service")
    result = run("key", "add", "bot", "--name", "slack")
    key = result.stdout.strip()
    assert key.startswith("bc_")
    assert "once" in result.stderr
    with reading() as session:
        found = keys.find(session, key)
        assert found is not None
        assert found[1].role == "service"
    listed = run("key", "list", "--user", "bot").stdout
    assert "slack" in listed
    assert key[:10] in listed
    assert key not in listed
    made = told("key", "add", "bot")
    assert told("key", "list")["total"] == 2
    assert "is revoked" in run("key", "revoke", key[:10]).stdout
    assert "is revoked" in run("key", "revoke", made["id"]).stdout
    assert all(row["revoked_at"] for row in told("key", "list")["keys"])
    assert "no such key" in refused("key", "revoke", "bc_nothing")
    assert "nobody of that name" in refused("key", "add", "nobody")


def test_looking_makes_no_database() -> None:
    for args in (("user", "list"), ("key", "list"), ("user", "disable", "alice"), ("key", "revoke", "bc_xxxxxxx")):
        assert "no database yet" in refused(*args)
    assert not (get_settings().data_dir / "backchannel.db").exists()
