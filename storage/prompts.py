"""Prompts that admins have written in place of the defaults in `config.prompts`. Every version is kept."""

from __future__ import annotations

from sqlalchemy import Table, bindparam, func, select, update
from sqlmodel import Session, col

from config.errors import NotFound
from config.prompts import DEFAULTS
from storage.project_tables import LlmPrompt

_prompts: Table = LlmPrompt.__table__  # type: ignore[attr-defined]


def require_type(prompt_type: str) -> None:
    """Raises NotFound."""
    if prompt_type not in DEFAULTS:
        raise NotFound(f"There is no such prompt; there are {', '.join(DEFAULTS)}.")


def find(session: Session, prompt_type: str) -> LlmPrompt | None:
    """The one that is active; None: the default is."""
    query = select(LlmPrompt).where(col(LlmPrompt.prompt_type) == prompt_type, col(LlmPrompt.is_active))
    return session.execute(query).scalar_one_or_none()


# Asked for every chat that brings none of its own.
_CUSTOM = select(_prompts.c.system_prompt).where(
    _prompts.c.prompt_type == bindparam("of_type"), _prompts.c.is_active.is_(True)
)


def custom(session: Session, prompt_type: str) -> str | None:
    """The active prompt's words where somebody has written one."""
    return session.execute(_CUSTOM, {"of_type": prompt_type}).scalar_one_or_none()


def active(session: Session, prompt_type: str) -> str:
    return custom(session, prompt_type) or DEFAULTS[prompt_type]


def write(session: Session, prompt_type: str, system_prompt: str, by: str) -> LlmPrompt:
    """A new version, active from now on. Two at the same moment: the second fails as a duplicate."""
    last = session.execute(
        select(func.max(_prompts.c.version)).where(_prompts.c.prompt_type == prompt_type)
    ).scalar_one()
    revert(session, prompt_type)
    row = LlmPrompt(
        prompt_type=prompt_type, version=(last or 0) + 1, system_prompt=system_prompt, created_by_user_id=by
    )
    session.add(row)
    session.flush()
    return row


def revert(session: Session, prompt_type: str) -> None:
    """The default is active again; what was written is kept."""
    session.execute(
        update(_prompts)
        .where(_prompts.c.prompt_type == prompt_type, _prompts.c.is_active.is_(True))
        .values(is_active=False)
    )


def versions(session: Session, prompt_type: str) -> list[LlmPrompt]:
    """Newest first."""
    query = select(LlmPrompt).where(col(LlmPrompt.prompt_type) == prompt_type)
    return list(session.execute(query.order_by(col(LlmPrompt.version).desc())).scalars())
