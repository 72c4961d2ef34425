"""Accounts that go, with all that is theirs. Each step is a transaction of its own and can be taken again: what was
begun and broke off goes on where it was.

begin ──▶ end_jobs, until none runs ──▶ drop_conversations, until there are none ──▶ finish
"""

from __future__ import annotations

import redis
from sqlalchemy import ColumnElement, Table, and_, delete, func, select
from sqlmodel import Session, col

from config.errors import Conflict
from config.logging import log
from storage import answer_cache, conversations, endings, gone, jobs, sessions, users
from storage.account_tables import ApiKey
from storage.connections import redis_client
from storage.database import after_commit
from storage.project_tables import FileAttachment
from storage.tables import LOCAL_OWNER, Conversation, Job, User, utcnow

# What one transaction removes: some tenths of a second, so that everybody else's writes come in between.
CONVERSATIONS_AT_ONCE = 20
JOBS_AT_ONCE = 500
VECTORS_AT_ONCE = 5000

_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]
_files: Table = FileAttachment.__table__  # type: ignore[attr-defined]
_jobs: Table = Job.__table__  # type: ignore[attr-defined]


def owned(session: Session, user_id: str) -> dict[str, int]:
    """How much would go."""
    tables = {"conversations": _conversations, "files": _files, "jobs": _jobs}
    count = {name: select(func.count()).select_from(of).where(of.c.owner_id == user_id) for name, of in tables.items()}
    return {name: session.execute(query).scalar_one() for name, query in count.items()}


def heir(session: Session, user: User) -> str:
    """Who has the index told of what is gone, once there is no owner any more. Raises Conflict for the last admin."""
    others = select(col(User.id)).where(
        col(User.id) != user.id, col(User.role) == "admin", col(User.is_active), col(User.username).is_not(None)
    )
    admin: str | None = session.execute(others.order_by(col(User.created_at))).scalars().first()
    if user.role == "admin" and admin is None:
        raise Conflict("This is the only admin; make somebody else one first.")
    return LOCAL_OWNER if user.id != LOCAL_OWNER or admin is None else admin


def begin(session: Session, user: User) -> str:
    """From here on nobody comes in by this account. Returns the heir."""
    users.ensure_local_owner(session)
    found = heir(session, user)
    user.is_active = False
    session.add(user)
    sessions.end_all(session, user.id)
    session.execute(delete(ApiKey).where(col(ApiKey.user_id) == user.id))
    return found


def end_jobs(session: Session, user_id: str) -> int:
    """Cancel what waits, ask what runs to stop, forget what ended. Returns how many are left."""
    active = select(_jobs.c.id).where(_jobs.c.owner_id == user_id, _jobs.c.status.in_(("queued", "running")))
    asked = active.where(_jobs.c.cancel_requested.is_(False)).order_by(_jobs.c.id).limit(JOBS_AT_ONCE)
    for job_id in list(session.execute(asked).scalars()):
        endings.cancel(session, job_id, user_id)
    ended = select(_jobs.c.id).where(_jobs.c.owner_id == user_id, _jobs.c.status.in_(jobs.TERMINAL))
    gone_now = list(session.execute(ended.order_by(_jobs.c.id).limit(JOBS_AT_ONCE)).scalars())
    session.execute(delete(_jobs).where(_jobs.c.id.in_(gone_now)))
    endings.forget_logs_after_commit(session, gone_now)
    left = select(func.count()).select_from(_jobs).where(_jobs.c.owner_id == user_id, ~_is_lost())
    return session.execute(left).scalar_one()


def _is_lost() -> ColumnElement[bool]:
    """A job whose worker died: nobody writes for it any more."""
    return and_(_jobs.c.status == "running", _jobs.c.lease_until < utcnow())


def drop_conversations(session: Session, user_id: str) -> int:
    """Some, each with everything of it. Returns how many went."""
    mine = select(_conversations.c.id).where(_conversations.c.owner_id == user_id).order_by(_conversations.c.id)
    removed = 0
    for conversation_id in list(session.execute(mine.limit(CONVERSATIONS_AT_ONCE)).scalars()):
        if conversations.find(session, conversation_id, user_id) is not None:  # a talk goes with its draft's
            conversations.remove(session, conversation_id, user_id)
            removed += 1
    return removed


def finish(session: Session, user_id: str, heir_id: str) -> bool:
    """The account itself, when nothing runs for it and nothing of it is left; else False. What still lies in the index
    is the heir's to remove."""
    if gone.hand_over(session, user_id, heir_id, VECTORS_AT_ONCE) == VECTORS_AT_ONCE:
        return False
    users.get_locked(session, user_id)
    if end_jobs(session, user_id) or drop_conversations(session, user_id):
        return False
    lost = list(session.execute(select(_jobs.c.id).where(_jobs.c.owner_id == user_id)).scalars())
    endings.forget_logs_after_commit(session, lost)
    session.execute(delete(User).where(col(User.id) == user_id))
    if user_id == LOCAL_OWNER:
        session.expunge_all()
        users.ensure_local_owner(session)
    after_commit(session, lambda: _forget(user_id))
    return True


def _forget(user_id: str) -> None:
    """What Redis holds under the account's own name."""
    try:
        answer_cache.flush(user_id)
        redis_client().hdel(answer_cache.FLUSHES, user_id)
    except redis.RedisError as error:
        log.warning("what is cached of an account is left to expire", reason=type(error).__name__)
