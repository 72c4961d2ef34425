"""API keys: shown once, kept as SHA-256, revoked for good."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Table, bindparam, select, update
from sqlmodel import Session, col

from config.errors import Conflict, NotFound
from storage.account_tables import ApiKey
from storage.opaque import digest, new_token
from storage.tables import User, utcnow

PREFIX = "bc_"
_SHOWN = 10  # characters people recognise a key by; 42 random bits less than it has
# How exact `last_used_at` is: a write for every request would cost more than the request.
USED_S = 60
_keys: Table = ApiKey.__table__  # type: ignore[attr-defined]


def make(session: Session, user_id: str, name: str) -> tuple[ApiKey, str]:
    """The row and the key itself, which nobody can be told again."""
    key = new_token(PREFIX)
    row = ApiKey(user_id=user_id, name=name, prefix=key[:_SHOWN], key_hash=digest(key))
    session.add(row)
    session.flush()
    return row, key


_FIND = (
    select(ApiKey, User)
    .join(User, col(User.id) == col(ApiKey.user_id))
    .where(col(ApiKey.key_hash) == bindparam("digest"), col(ApiKey.revoked_at).is_(None), col(User.is_active))
)


def find(session: Session, key: str) -> tuple[ApiKey, User] | None:
    row = session.execute(_FIND, {"digest": digest(key)}).first()
    return (row[0], row[1]) if row is not None else None


def is_use_untold(row: ApiKey) -> bool:
    return row.last_used_at is None or row.last_used_at < utcnow() - timedelta(seconds=USED_S)


def tell_use(session: Session, key_id: str) -> None:
    session.execute(update(_keys).where(_keys.c.id == key_id).values(last_used_at=utcnow()))


def all_of(session: Session, user_id: str | None = None) -> list[tuple[ApiKey, User]]:
    """Newest first, revoked ones too."""
    query = select(ApiKey, User).join(User, col(User.id) == col(ApiKey.user_id)).order_by(col(ApiKey.id).desc())
    if user_id is not None:
        query = query.where(col(ApiKey.user_id) == user_id)
    return [(row[0], row[1]) for row in session.execute(query)]


def revoke(session: Session, name: str) -> ApiKey:
    """By id or by the beginning that is shown. Raises NotFound, or Conflict where that is not one key."""
    rows = [row for row, _ in all_of(session) if row.id == name or (len(name) >= 6 and row.prefix.startswith(name))]
    rows = [row for row in rows if row.revoked_at is None] or rows
    if not rows:
        raise NotFound("There is no such key.")
    if len(rows) > 1:
        raise Conflict("Several keys begin like that; name one by its id.")
    if rows[0].revoked_at is None:
        rows[0].revoked_at = utcnow()
        session.add(rows[0])
    return rows[0]
