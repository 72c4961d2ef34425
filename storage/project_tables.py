"""The schema of what people make of conversations: drafts and their versions, projects, files, prompts.

conversation ──1 project_draft ──< project_draft_version
      ├────────1 project
      └────────< file_attachment
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.ids import new_id
from storage.tables import _time, _where


class ProjectDraft(SQLModel, table=True):
    """What a conversation is to become. The talk about it is a conversation of its own."""

    __tablename__ = "project_draft"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    conversation_id: str = Field(foreign_key="conversation.id", ondelete="CASCADE", unique=True, max_length=36)
    chat_id: str | None = Field(default=None, foreign_key="conversation.id", ondelete="SET NULL", max_length=36)
    active_version_id: str | None = Field(default=None, max_length=36)
    created_by_user_id: str | None = Field(default=None, foreign_key="user.id", ondelete="SET NULL", max_length=36)
    created_at: datetime = _time(nullable=False)
    updated_at: datetime = _time(nullable=False)


class ProjectDraftVersion(SQLModel, table=True):
    """One state of a draft; never changed. `model` made it, unless it is a manual edit."""

    __tablename__ = "project_draft_version"
    __table_args__ = (UniqueConstraint("project_draft_id", "version_number", name="uq_draft_version"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    project_draft_id: str = Field(foreign_key="project_draft.id", ondelete="CASCADE", max_length=36)
    version_number: int
    title: str = Field(sa_column=Column(Text, nullable=False))
    description: str = Field(sa_column=Column(Text, nullable=False))
    is_manual_edit: bool = False
    model: str | None = None
    job_id: str | None = Field(default=None, max_length=36)
    created_by_user_id: str | None = Field(default=None, foreign_key="user.id", ondelete="SET NULL", max_length=36)
    created_at: datetime = _time(nullable=False)


class Project(SQLModel, table=True):
    """A project in Linear. `marker` stands in its text there, so that it is found again before another is made."""

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    conversation_id: str = Field(foreign_key="conversation.id", ondelete="CASCADE", unique=True, max_length=36)
    marker: str = Field(unique=True, max_length=64)
    linear_project_id: str
    linear_url: str = Field(sa_column=Column(Text, nullable=False))
    title: str = Field(sa_column=Column(Text, nullable=False))
    description: str = Field(sa_column=Column(Text, nullable=False))
    created_by_user_id: str | None = Field(default=None, foreign_key="user.id", ondelete="SET NULL", max_length=36)
    created_at: datetime = _time(nullable=False)


class FileAttachment(SQLModel, table=True):
    """An uploaded file. Its bytes lie in the blob store under `digest`, or in the bucket under `s3_key`."""

    __tablename__ = "file_attachment"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    owner_id: str = Field(foreign_key="user.id", ondelete="CASCADE", max_length=36, index=True)
    conversation_id: str | None = Field(
        default=None, foreign_key="conversation.id", ondelete="CASCADE", max_length=36, index=True
    )
    message_id: str | None = Field(default=None, foreign_key="message.id", ondelete="SET NULL", max_length=36)
    filename: str = Field(sa_column=Column(Text, nullable=False))
    file_size: int  # bytes
    file_type: str  # by its content: image/png, application/pdf, …
    digest: str = Field(max_length=64, index=True)
    s3_key: str | None = Field(default=None, sa_column=Column(Text, unique=True))
    extracted_text: str | None = Field(default=None, sa_column=Column(Text))
    summary_text: str | None = Field(default=None, sa_column=Column(Text))
    problem: str | None = Field(default=None, sa_column=Column(Text))  # why there is no text, or not all of it
    read_at: datetime | None = _time()
    created_at: datetime = _time(nullable=False)


class LlmPrompt(SQLModel, table=True):
    """A system prompt for one kind of work; every version is kept, one of a type is active or none (the default is)."""

    __tablename__ = "llm_prompt"
    __table_args__ = (
        UniqueConstraint("prompt_type", "version", name="uq_llm_prompt_version"),
        Index("uq_llm_prompt_active", "prompt_type", unique=True, **_where("is_active")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=36)
    prompt_type: str = Field(max_length=64)
    version: int
    system_prompt: str = Field(sa_column=Column(Text, nullable=False))
    is_active: bool = True
    created_by_user_id: str | None = Field(default=None, foreign_key="user.id", ondelete="SET NULL", max_length=36)
    created_at: datetime = _time(nullable=False)


class WorkspaceFile(SQLModel, table=True):
    """A file of the configured folder as the last scan saw it."""

    __tablename__ = "workspace_file"

    path: str = Field(sa_column=Column(Text, primary_key=True))  # below the folder
    size: int  # bytes
    modified_at: datetime = _time(nullable=False)
    scanned_at: datetime = _time(nullable=False)


class GoneVector(SQLModel, table=True):
    """A vector whose chunk was deleted, until the index has been told."""

    __tablename__ = "gone_vector"

    id: str = Field(primary_key=True, max_length=64)  # the chunk's
    index_name: str
    owner_id: str = Field(foreign_key="user.id", ondelete="CASCADE", max_length=36, index=True)


class GoneObject(SQLModel, table=True):
    """An object of the bucket that no file has (any more), or that is being written; removed when it is due."""

    __tablename__ = "gone_object"

    key: str = Field(sa_column=Column(Text, primary_key=True))
    due_at: datetime = _time(nullable=False)
