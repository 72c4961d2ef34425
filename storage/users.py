"""People. In AUTH_MODE=local there is one: the owner."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from config.errors import Forbidden
from storage.tables import LOCAL_OWNER, User


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


def require_admin(session: Session, user_id: str, what: str) -> None:
    """Raises Forbidden. `what` completes "Only an admin may …"."""
    if get(session, user_id).role != "admin":
        raise Forbidden(f"Only an admin may {what}.")
