"""The schema. Repositories beside this file (`jobs.py`, `conversations.py`, …) hold the queries.

user ──< conversation ──< message ──< chunk
  │            └──< summary, summary_part
  ├────< job ──< import_item
  ├──── search_index
  └────< llm_default
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Dialect, Index, String, Text, TypeDecorator, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from storage.ids import new_id

LOCAL_OWNER = "00000000-0000-7000-8000-000000000001"  # whoever reaches the server in AUTH_MODE=local


def utcnow() -> datetime:
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC on both sides; SQLite stores no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the database")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def _time(*, nullable: bool = True, **kwargs: Any) -> Any:
    default = {"default": None} if nullable else {"default_factory": utcnow}
    return Field(sa_column=Column(UtcDateTime, nullable=nullable, **kwargs), **default)


def _where(condition: str) -> dict[str, Any]:
    """A partial index, on both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class User(SQLModel, table=True):
    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    name: str
    username: str | None = Field(default=None, unique=True, index=True, max_length=64)  # to sign in with a password
    password_hash: str | None = Field(default=None, sa_column=Column(Text))  # argon2
    email: str | None = Field(default=None, unique=True)
    role: str = "user"  # user, admin, service
    tokens_per_day: int | None = None  # a quota; None: the house's
    is_active: bool = True
    current_conversation_id: str | None = Field(default=None, max_length=36)  # the caller's current session
    model: str | None = None  # chosen by /api/models/switch
    stats_since: datetime | None = _time()  # where the session's statistics begin
    created_at: datetime = _time(nullable=False)


class Conversation(SQLModel, table=True):
    __table_args__ = (
        UniqueConstraint("owner_id", "source", "native_id", name="uq_conversation_identity"),
        Index("ix_conversation_listing", "owner_id", "updated_at"),
        Index("ix_conversation_unindexed", "id", **_where("indexed_version < content_version")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    owner_id: str = Field(foreign_key="user.id", ondelete="CASCADE", max_length=36)
    source: str = "backchannel"  # where it was said; our own chats are "backchannel"
    native_id: str  # the source's id; our own chats repeat `id`
    url: str | None = Field(default=None, sa_column=Column(Text))
    title: str = Field(sa_column=Column(Text, nullable=False))
    title_is_custom: bool = False  # renamed by a person: an import leaves it alone
    model: str | None = None
    is_archived: bool = False
    is_locked: bool = False
    has_attachments: bool = False
    extra: dict[str, Any] = Field(default_factory=dict, sa_column=Column(Json, nullable=False))
    content_hash: str | None = None  # of everything imported; equal means unchanged
    content_version: int = 1  # raised by every change of messages …
    indexed_version: int = 0  # … and reached by the embedding job
    rebuilt_version: int = 0  # the same in the index that is being built beside the one that serves
    created_at: datetime = _time(nullable=False)  # at the source
    updated_at: datetime = _time(nullable=False)
    source_updated_at: datetime | None = _time()  # the same as the newest file that was imported has it, if it does
    imported_at: datetime | None = _time()


class Message(SQLModel, table=True):
    __table_args__ = (
        UniqueConstraint("conversation_id", "native_id", name="uq_message_identity"),
        Index("ix_message_order", "conversation_id", "position"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    conversation_id: str = Field(foreign_key="conversation.id", ondelete="CASCADE", max_length=36)
    native_id: str
    parent_id: str | None = Field(default=None, max_length=36)
    position: int  # parents before children; along the shown path it is the reading order
    on_path: bool = True  # part of the branch that is shown
    role: str
    author_name: str | None = None
    content: str = Field(sa_column=Column(Text, nullable=False))
    visibility: str = "visible"  # visible, hidden, tool, reasoning
    model: str | None = None
    parts: dict[str, Any] = Field(default_factory=dict, sa_column=Column(Json, nullable=False))
    sources: list[dict[str, Any]] | None = Field(default=None, sa_column=Column(Json))
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    response_ms: int | None = None
    job_id: str | None = Field(default=None, max_length=36, index=True)
    created_at: datetime | None = _time()


class Chunk(SQLModel, table=True):
    """A passage as it stands in the vector index; `id` is the vector's id."""

    id: str = Field(primary_key=True, max_length=64)
    conversation_id: str = Field(foreign_key="conversation.id", ondelete="CASCADE", max_length=36, index=True)
    message_id: str = Field(max_length=36)  # or the file's, or the draft's
    start: int  # characters into the message or the text of the file or draft
    end: int
    text: str = Field(sa_column=Column(Text, nullable=False))
    embedding_model: str
    created_at: datetime = _time(nullable=False)


class SearchIndex(SQLModel, table=True):
    """Which index serves an owner's searches, and which one is being built to take its place. A name is the embedding
    model's with a generation behind it; chunks carry it."""

    __tablename__ = "search_index"

    owner_id: str = Field(foreign_key="user.id", ondelete="CASCADE", primary_key=True, max_length=36)
    name: str
    building: str | None = None
    retiring: str | None = None  # the one before: still to be removed
    built_at: datetime | None = _time()


class Job(SQLModel, table=True):
    __table_args__ = (
        # Partial where they can be: every status change writes to each index that holds the row.
        Index(
            "uq_job_idempotency", "owner_id", "idempotency_key", unique=True, **_where("idempotency_key IS NOT NULL")
        ),
        Index("ix_job_listing", "owner_id", "id"),
        Index("ix_job_queued", "queue", "priority", "id", **_where("status = 'queued'")),
        Index("ix_job_running", "lease_until", **_where("status = 'running'")),
        # At most one running job of a serial key: the claim's own check cannot see a concurrent claim on PostgreSQL.
        Index("uq_job_serial_running", "serial_key", unique=True, **_where("status = 'running'")),
        Index("ix_job_serial", "serial_key", "status", **_where("serial_key IS NOT NULL")),
        Index("ix_job_conversation", "conversation_id", **_where("conversation_id IS NOT NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    owner_id: str = Field(foreign_key="user.id", ondelete="CASCADE", max_length=36)
    kind: str
    queue: str
    status: str = Field(default="queued")
    priority: int = 5
    input: dict[str, Any] = Field(default_factory=dict, sa_column=Column(Json, nullable=False))
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(Json))
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(Json))
    progress: dict[str, Any] | None = Field(default=None, sa_column=Column(Json))
    checkpoint: dict[str, Any] | None = Field(default=None, sa_column=Column(Json))  # where the next attempt goes on

    attempt: int = 0  # the fence: raised by every claim, named by every write of a worker
    failures: int = 0  # lost workers and retryable errors; a clean stop is none
    max_failures: int = 4
    worker: str | None = None
    lease_until: datetime | None = _time()
    run_after: datetime | None = _time()
    sent_at: datetime | None = _time()  # last time its id was put on the queue
    cancel_requested: bool = False
    serial_key: str | None = None  # jobs that share it run one after the other, in order of id
    event_seq: int = 1  # last event known to be in the log; 1 is the implicit `queued`

    idempotency_key: str | None = Field(default=None, sa_column=Column(String(255)))
    request_hash: str | None = None
    webhook_url: str | None = Field(default=None, sa_column=Column(Text))
    conversation_id: str | None = Field(default=None, max_length=36)

    created_at: datetime = _time(nullable=False)
    started_at: datetime | None = _time()
    first_output_at: datetime | None = _time()
    finished_at: datetime | None = _time()


class ImportItem(SQLModel, table=True):
    """One conversation found in an import, and what became of it."""

    __tablename__ = "import_item"
    __table_args__ = (UniqueConstraint("job_id", "item_index", name="uq_import_item"),)

    id: int | None = Field(default=None, primary_key=True)
    job_id: str = Field(foreign_key="job.id", ondelete="CASCADE", max_length=36)
    item_index: int
    status: str  # created, updated, unchanged, skipped, failed
    reason: str | None = Field(default=None, sa_column=Column(Text))
    title: str | None = Field(default=None, sa_column=Column(Text))
    native_id: str | None = Field(default=None, sa_column=Column(Text))
    conversation_id: str | None = Field(default=None, max_length=36)
    messages: int = 0


class Summary(SQLModel, table=True):
    """What a conversation is about; one per conversation."""

    conversation_id: str = Field(foreign_key="conversation.id", ondelete="CASCADE", primary_key=True, max_length=36)
    text: str = Field(sa_column=Column(Text, nullable=False))
    model: str | None = None  # none where a person wrote the first one
    is_edited: bool = False  # written or changed by a person: not overwritten without asking
    content_version: int  # of the conversation, when this was made
    place: dict[str, Any] | None = Field(
        default=None, sa_column=Column(Json)
    )  # how far an external summariser has read
    created_at: datetime = _time(nullable=False)
    updated_at: datetime = _time(nullable=False)


class SummaryPart(SQLModel, table=True):
    """The summary of one piece of a conversation, found again by what it was made from."""

    __tablename__ = "summary_part"

    conversation_id: str = Field(foreign_key="conversation.id", ondelete="CASCADE", primary_key=True, max_length=36)
    digest: str = Field(primary_key=True, max_length=64)  # of piece, prompt and model
    text: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = _time(nullable=False)


class LlmDefault(SQLModel, table=True):
    """Which model does a kind of work unless somebody chose otherwise."""

    __tablename__ = "llm_default"

    prompt_type: str = Field(primary_key=True, max_length=64)  # "chat", "summary", …
    provider: str
    model: str
    updated_by: str | None = Field(default=None, foreign_key="user.id", ondelete="SET NULL", max_length=36)
    updated_at: datetime = _time(nullable=False)
