"""People, their passwords, keys, sessions and what they used."""

from __future__ import annotations

from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlmodel import select

from config.errors import Conflict, NotFound, QuotaUsedUp, Unusable
from config.settings import reset_settings
from storage import identities, keys, passwords, sessions, usage, users
from storage.account_tables import TokenUsage, UserSession
from storage.database import reading, transaction
from storage.identities import Claims
from storage.tables import LOCAL_OWNER, User, utcnow
from tests import factories

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same hash, at a cost that tests can pay."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords._nobodys.cache_clear()


def add(name: str, role: str = "user", email: str | None = None, password: str | None = None) -> User:
    with transaction() as session:
        return users.add(session, name, role, email=email, password=password)


# --- accounts


def test_the_first_admin_is_the_local_owner(database: str) -> None:
    owned = factories.conversation(LOCAL_OWNER)
    assert add("zoe").id != LOCAL_OWNER
    first, second = add("Alice", "admin"), add("bob", "admin")
    assert (first.id, first.username) == (LOCAL_OWNER, "alice")
    assert second.id != LOCAL_OWNER
    assert [row.id for row in factories.all_conversations(first.id)] == [owned]


def test_names_and_addresses_are_one_person_s(database: str) -> None:
    add("alice", email="alice@example.org")
    for name, email in (
        ("ALICE", None),
        ("bob", "Alice@Example.ORG"),
        ("alice@example.org", None),
        ("bob", "alice@example.org"),
    ):
        with pytest.raises(Conflict):
            add(name, email=email)
    with reading() as session:
        found = {users.require(session, who).id for who in ("alice", " Alice", "ALICE@example.org")}
        assert len(found) == 1
        for who in ("", "nobody", "a\0"):
            with pytest.raises(NotFound):
                users.require(session, who)


@pytest.mark.parametrize("name", ["", " ", "a b", "é", "-a", "x" * 65, "a\0", "a/b", "a\n"])
def test_a_name_that_is_none(sqlite: str, name: str) -> None:
    if name == "a\n":  # what a shell leaves behind is no part of it
        assert add(name).username == "a"
        return
    with pytest.raises(Unusable):
        add(name)


@pytest.mark.parametrize("email", ["x", "@", "a@", "a b@c", "a@b@c", "a" * 65 + "@b"])
def test_an_address_that_is_none(sqlite: str, email: str) -> None:
    with pytest.raises(Unusable):
        add("alice", email=email)


def test_whether_an_admin_can_sign_in(sqlite: str) -> None:
    def has_admin() -> bool:
        with reading() as session:
            return users.has_admin(session)

    assert not has_admin()  # the local owner has no way in
    add("bob", password=PASSWORD)
    add("alice", "admin")
    assert not has_admin()
    with transaction() as session:
        users.set_password(session, users.require(session, "alice"), PASSWORD)
    assert has_admin()
    with transaction() as session:
        users.set_active(session, users.require(session, "alice"), False)
    assert not has_admin()


# --- passwords


def test_a_password_is_kept_as_argon2(sqlite: str) -> None:
    kept = add("alice", password=PASSWORD).password_hash
    assert kept is not None
    assert kept.startswith("$argon2id$")
    assert passwords.is_right(PASSWORD, kept)
    for wrong in ("", PASSWORD + " ", PASSWORD.upper(), "\ud800", "x" * 5000):
        assert not passwords.is_right(wrong, kept)
    assert not passwords.is_right("", None)
    assert not passwords.is_right(PASSWORD, "no hash")


def test_real_passwords_cost_what_the_library_says() -> None:
    assert passwords.PasswordHasher().memory_cost >= 65536


@pytest.mark.parametrize("password", ["", "short", "password123", "admin123", "a" * 40, "abababababab", "x" * 1001])
def test_a_password_that_is_none(sqlite: str, password: str) -> None:
    with pytest.raises(Unusable):
        add("alice", password=password)
    with reading() as session:
        assert users.find(session, "alice") is None


def test_a_password_is_not_the_name(sqlite: str) -> None:
    with pytest.raises(Unusable):
        add("alice.in.wonderland", password="Alice.In.Wonderland")


# --- sessions


def test_a_session_from_the_first_token_to_the_last(database: str) -> None:
    user = add("alice")
    with transaction() as session:
        first = sessions.begin(session, user.id, "a browser\0" + "x" * 1000)
        other = sessions.begin(session, user.id)
    with transaction() as session:
        second = sessions.rotate(session, first)
        assert second is not None
        assert sessions.rotate(session, first) is None
    with transaction() as session:
        for token in (first, second, other):
            found = sessions.find(session, token)
            assert found is not None
            assert found[1].id == user.id
        assert sessions.find(session, "x") is None
        assert sessions.end(session, second)
        assert sessions.find(session, first) is None
        assert not sessions.end(session, second)
        assert sessions.end_all(session, user.id) == 1


def test_a_session_of_somebody_disabled(sqlite: str) -> None:
    user = add("alice")
    with transaction() as session:
        token = sessions.begin(session, user.id)
    with transaction() as session:
        users.set_active(session, users.get(session, user.id), False)
        users.set_active(session, users.get(session, user.id), True)
    with reading() as session:
        assert sessions.find(session, token) is None


def test_what_is_over_is_forgotten(database: str) -> None:
    user = add("alice")
    with transaction() as session:
        token = sessions.begin(session, user.id)
        sessions.begin(session, user.id)
    with transaction() as session:
        row = sessions.find(session, token)
        assert row is not None
        row[0].expires_at = utcnow() - timedelta(seconds=1)
        session.add(row[0])
    with transaction() as session:
        assert sessions.find(session, token) is None
        assert sessions.forget_expired(session) == 1
        assert len(list(session.exec(select(UserSession)))) == 1


def test_one_of_many_that_rotate_at_once_wins(database: str) -> None:
    user = add("alice")
    with transaction() as session:
        token = sessions.begin(session, user.id)

    def rotate() -> str | None:
        with transaction() as session:
            return sessions.rotate(session, token)

    assert sum(fresh is not None for fresh in factories.at_once(*[rotate] * 6)) == 1


# --- keys


def test_keys_from_made_to_revoked(database: str) -> None:
    alice, bob = add("alice"), add("bob")
    with transaction() as session:
        row, key = keys.make(session, alice.id, "laptop")
        _, other = keys.make(session, bob.id, "")
    assert key.startswith(row.prefix)
    with transaction() as session:
        assert [(row.name, user.username) for row, user in keys.all_of(session, alice.id)] == [("laptop", "alice")]
        assert len(keys.all_of(session)) == 2
        for wrong in (key[:5], "bc_", "", "bc_nothing-like-it"):
            with pytest.raises((NotFound, Conflict)):
                keys.revoke(session, wrong)
        assert keys.revoke(session, key[:10]).id == row.id
    with reading() as session:
        assert keys.find(session, key) is None
        assert keys.find(session, other) is not None
    with transaction() as session:
        assert keys.revoke(session, row.id).revoked_at is not None  # again is no error


# --- identities


def test_one_person_at_two_issuers(database: str) -> None:
    with transaction() as session:
        first = identities.signed_in(session, Claims("https://a", "1", "Alice", "alice@example.org")).id
        assert identities.signed_in(session, Claims("https://a", "1")).id == first
        assert identities.signed_in(session, Claims("https://b", "9", "Alice", "alice@example.org")).id == first
        assert identities.signed_in(session, Claims("https://a", "2", "Eve", "alice@example.org")).id != first
        assert identities.signed_in(session, Claims("https://b", "1", "Bob", "")).id != first
        assert users.get(session, first).email == "alice@example.org"


# --- usage


def row_of(user_id: str) -> TokenUsage:
    with reading() as session:
        return session.exec(select(TokenUsage).where(TokenUsage.user_id == user_id)).one()


def test_usage_adds_up(database: str) -> None:
    user = add("alice")

    def spend() -> None:
        with transaction() as session:
            usage.add(session, user.id, 10, 5)

    factories.at_once(*[spend] * 6)
    with transaction() as session:
        usage.add(session, user.id, None, None)
    row = row_of(user.id)
    assert (row.answers, row.prompt_tokens, row.completion_tokens) == (7, 60, 30)
    assert row.day == utcnow().strftime("%Y-%m-%d")


def test_a_transaction_that_fails_costs_nothing(sqlite: str) -> None:
    user = add("alice")

    def fail() -> None:
        with transaction() as session:
            usage.add(session, user.id, 10, 5)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with reading() as session:
        assert session.get(TokenUsage, (user.id, utcnow().strftime("%Y-%m-%d"))) is None


def test_the_day_s_tokens(database: str, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("TOKENS_PER_DAY", "10")
    reset_settings()
    user = add("alice")
    with transaction() as session:
        usage.check(session, user.id)
        usage.add(session, user.id, 9, 0)
        usage.check(session, user.id)
        usage.add(session, user.id, 0, 1)
        with pytest.raises(QuotaUsedUp) as used_up:
            usage.check(session, user.id)
        assert 0 < int(used_up.value.headers["Retry-After"]) <= 86_400
        for own in (0, 11):  # 0 is no bound
            users.get(session, user.id).tokens_per_day = own
            session.flush()
            usage.check(session, user.id)
        session.execute(TokenUsage.__table__.update().values(day="2020-01-01"))  # type: ignore[attr-defined]
        users.get(session, user.id).tokens_per_day = None
        session.flush()
        usage.check(session, user.id)
