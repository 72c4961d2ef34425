"""People. In AUTH_MODE=local there is one: the owner."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlmodel import Session, col

from storage.tables import LOCAL_OWNER, User


def ensure_local_owner(session: Session) -> None:
    if session.get(User, LOCAL_OWNER) is None:
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
