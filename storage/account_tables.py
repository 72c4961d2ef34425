"""The schema of who somebody is and what they may: beside `storage.tables`, which holds what was said and done.

user ──< identity, user_session, api_key, token_usage
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from storage.ids import new_id
from storage.tables import _time


class Identity(SQLModel, table=True):
    """Who somebody is at an OpenID Connect issuer. An e-mail address changes hands; these two do not."""

    issuer: str = Field(primary_key=True, max_length=255)
    subject: str = Field(primary_key=True, max_length=255)
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", max_length=36, index=True)
    created_at: datetime = _time(nullable=False)


class UserSession(SQLModel, table=True):
    """A browser that is signed in. Only the token's SHA-256 is known here."""

    __tablename__ = "user_session"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", max_length=36, index=True)
    token_hash: str = Field(unique=True, max_length=64)
    previous_hash: str | None = Field(default=None, index=True, max_length=64)  # good for seconds after `rotated_at`
    rotated_at: datetime | None = _time()
    user_agent: str = Field(default="", sa_column=Column(Text, nullable=False))
    created_at: datetime = _time(nullable=False)
    last_seen_at: datetime = _time(nullable=False)
    expires_at: datetime = _time(nullable=False, index=True)


class ApiKey(SQLModel, table=True):
    """Shown once when it is made; kept as SHA-256. `prefix` is what people recognise it by."""

    __tablename__ = "api_key"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", max_length=36, index=True)
    name: str
    prefix: str
    key_hash: str = Field(unique=True, max_length=64)
    created_at: datetime = _time(nullable=False)
    last_used_at: datetime | None = _time()
    revoked_at: datetime | None = _time()


class TokenUsage(SQLModel, table=True):
    """What a person's answers cost on one day (UTC), for quotas and metrics."""

    __tablename__ = "token_usage"

    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", primary_key=True, max_length=36)
    day: str = Field(primary_key=True, max_length=10)  # 2026-11-21
    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
