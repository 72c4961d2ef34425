"""Browsers that are signed in. A session's token is replaced when half its life is over; for a few seconds the one
before is good, too, because a browser has several requests under way."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Table, and_, bindparam, delete, or_, select, update
from sqlmodel import Session, col

from config.settings import get_settings
from storage.account_tables import UserSession
from storage.opaque import digest, new_token
from storage.tables import User, UtcDateTime, utcnow

GRACE_S = 30
MAX_AGENT = 300
_sessions: Table = UserSession.__table__  # type: ignore[attr-defined]


def _life() -> timedelta:
    return timedelta(hours=get_settings().session_expire_hours)


def begin(session: Session, user_id: str, user_agent: str = "") -> str:
    """The new session's token, which is known to nobody else."""
    token, now = new_token(), utcnow()
    row = UserSession(
        user_id=user_id,
        token_hash=digest(token),
        user_agent=user_agent[:MAX_AGENT].replace("\0", ""),
        created_at=now,
        last_seen_at=now,
        expires_at=now + _life(),
    )
    session.add(row)
    return token


_FIND = (
    select(UserSession, User)
    .join(User, col(User.id) == col(UserSession.user_id))
    .where(
        or_(
            col(UserSession.token_hash) == bindparam("digest"),
            and_(
                col(UserSession.previous_hash) == bindparam("digest"),
                col(UserSession.rotated_at) > bindparam("grace", type_=UtcDateTime),
            ),
        ),
        col(UserSession.expires_at) > bindparam("now", type_=UtcDateTime),
        col(User.is_active),
    )
)


def find(session: Session, token: str) -> tuple[UserSession, User] | None:
    now = utcnow()
    given = {"digest": digest(token), "now": now, "grace": now - timedelta(seconds=GRACE_S)}
    row = session.execute(_FIND, given).first()
    return (row[0], row[1]) if row is not None else None


def is_half_over(row: UserSession, now: datetime | None = None) -> bool:
    return row.expires_at - (now or utcnow()) < _life() / 2


def rotate(session: Session, token: str) -> str | None:
    """A new token in place of this one, good for a whole life; None when another request was first."""
    fresh, now, old = new_token(), utcnow(), digest(token)
    changed = session.execute(
        update(_sessions)
        .where(_sessions.c.token_hash == old, _sessions.c.expires_at > now)
        .values(token_hash=digest(fresh), previous_hash=old, rotated_at=now, last_seen_at=now, expires_at=now + _life())
    )
    return fresh if changed.rowcount else None  # type: ignore[attr-defined]


def end(session: Session, token: str) -> bool:
    """Sign out: neither token of the session is good any more."""
    given = digest(token)
    gone = session.execute(
        delete(_sessions).where(or_(_sessions.c.token_hash == given, _sessions.c.previous_hash == given))
    )
    return bool(gone.rowcount)  # type: ignore[attr-defined]


def end_all(session: Session, user_id: str) -> int:
    gone = session.execute(delete(_sessions).where(_sessions.c.user_id == user_id))
    return gone.rowcount  # type: ignore[attr-defined]


def forget_expired(session: Session) -> int:
    gone = session.execute(delete(_sessions).where(_sessions.c.expires_at <= utcnow()))
    return gone.rowcount  # type: ignore[attr-defined]
