"""Figures from the rows: a session's statistics, who is talking, how long jobs take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Table, func, select
from sqlmodel import Session

from config.queues import Kind
from storage.account_tables import TokenUsage
from storage.filters import OWN_SOURCE
from storage.tables import Conversation, Job, Message, User, utcnow

_messages: Table = Message.__table__  # type: ignore[attr-defined]
_conversations: Table = Conversation.__table__  # type: ignore[attr-defined]
_jobs: Table = Job.__table__  # type: ignore[attr-defined]
_users: Table = User.__table__  # type: ignore[attr-defined]
_usage: Table = TokenUsage.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Of the answers since `started_at`; `mean_response_ms` is 0 before the first."""

    session_id: str | None
    answers: int
    tokens: int
    mean_response_ms: float
    started_at: datetime
    last_activity: datetime


def of_session(session: Session, user: User) -> SessionStats:
    """A person's current session, from its beginning or the last reset on."""
    current = session.get(Conversation, user.current_conversation_id) if user.current_conversation_id else None
    if current is None or current.owner_id != user.id:
        start = user.stats_since or user.created_at
        return SessionStats(None, 0, 0, 0.0, start, start)
    start = max(filter(None, (current.created_at, user.stats_since)))
    is_answer = _messages.c.role == "assistant"
    query = select(
        func.count().filter(is_answer),
        func.coalesce(func.sum(_messages.c.completion_tokens).filter(is_answer), 0),
        func.coalesce(func.avg(_messages.c.response_ms).filter(is_answer), 0),
        func.max(_messages.c.created_at),
    ).where(_messages.c.conversation_id == current.id, _messages.c.created_at >= start)
    answers, tokens, mean_ms, last = session.execute(query).one()
    return SessionStats(current.id, answers, int(tokens), float(mean_ms), start, last or start)


def count_messages(session: Session, conversation_ids: Collection[str]) -> dict[str, int]:
    """Those that are shown, by conversation."""
    query = (
        select(_messages.c.conversation_id, func.count())
        .where(
            _messages.c.conversation_id.in_(list(conversation_ids)),
            _messages.c.on_path,
            _messages.c.visibility == "visible",
        )
        .group_by(_messages.c.conversation_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def count_talking(session: Session, within_s: float) -> int:
    """Conversations in which somebody asked something lately."""
    query = select(func.count(_jobs.c.conversation_id.distinct())).where(
        _jobs.c.id >= first_id(utcnow() - timedelta(seconds=within_s)), _jobs.c.kind == Kind.CHAT.value
    )
    return session.execute(query).scalar_one()


def count_sessions(session: Session) -> dict[str, int]:
    """All conversations that were begun here, and the people who have any."""
    query = select(func.count(), func.count(_conversations.c.owner_id.distinct()))
    total, people = session.execute(query.where(_conversations.c.source == OWN_SOURCE)).one()
    return {"count": total, "users": people}


def count_users(session: Session) -> int:
    return session.execute(select(func.count()).select_from(_users)).scalar_one()


def count_jobs(session: Session) -> dict[str, dict[str, int]]:
    """kind → status → jobs that are remembered."""
    counts: dict[str, dict[str, int]] = {}
    query = select(_jobs.c.kind, _jobs.c.status, func.count()).group_by(_jobs.c.kind, _jobs.c.status)
    for kind, status, number in session.execute(query):
        counts.setdefault(kind, {})[status] = number
    return counts


def count_tokens(session: Session) -> dict[str, int]:
    """Of all answers that were ever given."""
    columns = (_usage.c.answers, _usage.c.prompt_tokens, _usage.c.completion_tokens)
    row = session.execute(select(*(func.coalesce(func.sum(column), 0) for column in columns))).one()
    return dict(zip(("answers", "prompt", "completion"), map(int, row), strict=True))


def latest_ends(session: Session, limit: int) -> list[Row[Any]]:
    """(kind, created_at, started_at, first_output_at, finished_at) of the newest jobs that succeeded."""
    of = _jobs.c
    query = select(of.kind, of.created_at, of.started_at, of.first_output_at, of.finished_at)
    return list(session.execute(query.where(of.status == "succeeded").order_by(of.id.desc()).limit(limit)))


def first_id(moment: datetime) -> str:
    """Ids of rows made at this time or later are not below it: they begin with their milliseconds (UUIDv7)."""
    digits = f"{max(0, int(moment.timestamp() * 1000)):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
