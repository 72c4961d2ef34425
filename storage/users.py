"""People. In AUTH_MODE=local there is one: the owner."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from config.errors import Conflict, Forbidden, NotFound, Unusable
from storage import passwords, sessions
from storage.account_tables import Identity
from storage.tables import LOCAL_OWNER, User

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_EMAIL = re.compile(r"[^\s@\0]{1,64}@[^\s@\0]{1,189}")


def ensure_local_owner(session: Session) -> None:
    """Also where several processes of a first start do so at once."""
    if session.get(User, LOCAL_OWNER) is None:
        with suppress(IntegrityError), session.begin_nested():
            session.add(User(id=LOCAL_OWNER, name="owner", role="admin"))


def get(session: Session, user_id: str) -> User:
    user = session.get(User, user_id)
    assert user is not None
    return user


def get_locked(session: Session, user_id: str) -> User:
    """Held until the transaction ends, so that two first messages at once open one session, not two."""
    return session.execute(select(User).where(col(User.id) == user_id).with_for_update()).scalar_one()


def set_current_conversation(session: Session, user_id: str, conversation_id: str | None) -> None:
    session.execute(update(User).where(col(User.id) == user_id).values(current_conversation_id=conversation_id))


def set_model(session: Session, user_id: str, model: str | None) -> None:
    """The model this person's next messages are answered by; None: the house's."""
    session.execute(update(User).where(col(User.id) == user_id).values(model=model))


def set_stats_since(session: Session, user_id: str, moment: datetime) -> None:
    """Where the statistics of this person's session begin."""
    session.execute(update(User).where(col(User.id) == user_id).values(stats_since=moment))


def require_admin(session: Session, user_id: str, what: str) -> None:
    """Raises Forbidden. `what` completes "Only an admin may …"."""
    if get(session, user_id).role != "admin":
        raise Forbidden(f"Only an admin may {what}.")


# --- accounts


def add(
    session: Session, username: str, role: str = "user", *, email: str | None = None, password: str | None = None
) -> User:
    """Raises Unusable, or Conflict for a name or an address that is taken. The first admin takes over what the local
    owner has: it is the same person, who signs in from now on."""
    username = username.strip().lower()
    if not _USERNAME.fullmatch(username):
        raise Unusable(
            "A user name is up to 64 letters a to z, digits and . _ @ + -, and begins with one of the former."
        )
    if email is not None and not _EMAIL.fullmatch(email):
        raise Unusable("That is no e-mail address.")
    if _taken(session, username) or (email is not None and _taken(session, email)):
        raise Conflict("There is somebody of that name or address already.")
    ensure_local_owner(session)
    owner = get(session, LOCAL_OWNER)
    user = owner if role == "admin" and not _reachable(session) else User(name=username)
    user.name, user.username, user.role, user.email = username, username, role, email
    session.add(user)
    session.flush()
    if password is not None:
        set_password(session, user, password)
    return user


def _taken(session: Session, name: str) -> bool:
    return _named(session, name) is not None


def _named(session: Session, name: str) -> User | None:
    """A user name goes before an address that is spelled like it."""
    name = name.strip().lower()
    for column in (col(User.username), func.lower(col(User.email))):
        user = session.execute(select(User).where(column == name)).scalars().first()
        if user is not None:
            return user
    return None


def _reachable(session: Session) -> bool:
    """True when somebody can be the local owner, or an admin, by signing in."""
    can_sign_in = or_(col(User.username).is_not(None), col(User.email).is_not(None))
    who = or_(col(User.id) == LOCAL_OWNER, col(User.role) == "admin")
    return session.execute(select(col(User.id)).where(can_sign_in, who)).first() is not None


def has_admin(session: Session) -> bool:
    """True when an admin can sign in."""
    known = or_(
        col(User.password_hash).is_not(None),
        col(User.email).is_not(None),
        select(col(Identity.user_id)).where(col(Identity.user_id) == col(User.id)).exists(),
    )
    query = select(col(User.id)).where(col(User.role) == "admin", col(User.is_active), known)
    return session.execute(query).first() is not None


def find(session: Session, who: str) -> User | None:
    """By id, user name or e-mail address."""
    if "\0" in who:
        return None
    return session.get(User, who) or _named(session, who)


def require(session: Session, who: str) -> User:
    """Raises NotFound."""
    user = find(session, who)
    if user is None:
        raise NotFound("There is nobody of that name.")
    return user


def page(session: Session) -> list[User]:
    """Everybody, in the order they came."""
    return list(session.execute(select(User).order_by(col(User.created_at), col(User.id))).scalars())


def set_password(session: Session, user: User, password: str) -> None:
    """Raises Unusable. Bearer tokens of the old password end with it (they name its hash), sessions here."""
    passwords.check_usable(password, user.username or "")
    user.password_hash = passwords.hashed(password)
    session.add(user)
    sessions.end_all(session, user.id)


def set_active(session: Session, user: User, is_active: bool) -> None:
    user.is_active = is_active
    session.add(user)
    if not is_active:
        sessions.end_all(session, user.id)
