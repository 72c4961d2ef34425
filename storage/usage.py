"""What people's answers cost, by day (UTC), and the bound to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col

from config.errors import QuotaUsedUp
from config.queues import Kind
from config.settings import get_settings
from storage.account_tables import TokenUsage
from storage.tables import User, utcnow

COSTING = (Kind.CHAT, Kind.VOICE_REPLY, Kind.SUMMARIZE, Kind.DRAFT, Kind.DRAFT_CHAT)  # what a model answers
_usage: Table = TokenUsage.__table__  # type: ignore[attr-defined]


def _day(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%d")


def add(session: Session, user_id: str, prompt: int | None, completion: int | None) -> None:
    """One answer and its tokens, in the transaction that writes it; one that was told from the cache costs none."""
    insert: Any = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    values = {"answers": 1, "prompt_tokens": prompt or 0, "completion_tokens": completion or 0}
    session.execute(
        insert(_usage)
        .values(user_id=user_id, day=_day(utcnow()), **values)
        .on_conflict_do_update(
            index_elements=["user_id", "day"], set_={name: _usage.c[name] + value for name, value in values.items()}
        )
    )


_TODAY = (
    select(col(User.tokens_per_day), col(TokenUsage.prompt_tokens) + col(TokenUsage.completion_tokens))
    .select_from(User)
    .outerjoin(TokenUsage, (col(TokenUsage.user_id) == col(User.id)) & (col(TokenUsage.day) == bindparam("day")))
    .where(col(User.id) == bindparam("user"))
)


def check(session: Session, user_id: str) -> None:
    """Raises QuotaUsedUp (429, Retry-After until midnight UTC). What is under way when the last token goes is written
    to its end: an answer's cost is known when it is there."""
    now = utcnow()
    row = session.execute(_TODAY, {"user": user_id, "day": _day(now)}).first()
    own, used = row if row is not None else (None, None)
    limit = get_settings().tokens_per_day if own is None else own
    if limit and (used or 0) >= limit:
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        raise QuotaUsedUp(
            f"You have used your {limit:,} tokens of today; there are new ones after midnight (UTC).",
            headers={"Retry-After": str(max(1, round((midnight - now).total_seconds())))},
        )
