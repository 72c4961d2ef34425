"""Which model does a kind of work ("chat", "summary", …) when a request names none."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update
from sqlmodel import Session, col

from config.catalogue import full_name
from storage.tables import LlmDefault, User, utcnow

CHAT = "chat"


def get(session: Session, prompt_type: str) -> LlmDefault | None:
    return session.get(LlmDefault, prompt_type)


def choose(session: Session, prompt_type: str, provider: str, model: str, by: str | None = None) -> None:
    """Make this the house's model for a kind of work, in place of an earlier one."""
    session.merge(
        LlmDefault(prompt_type=prompt_type, provider=provider, model=model, updated_by=by, updated_at=utcnow())
    )
    session.flush()


def forget_model(session: Session, provider: str, model: str) -> list[str]:
    """Nobody and no kind of work has this model any more. Returns the kinds of work that had it."""
    rows = session.execute(
        select(LlmDefault).where(col(LlmDefault.provider) == provider, col(LlmDefault.model) == model)
    ).scalars()
    kinds = []
    for row in rows:
        kinds.append(row.prompt_type)
        session.delete(row)
    session.execute(update(User).where(col(User.model) == full_name(provider, model)).values(model=None))
    return sorted(kinds)


def resolve(session: Session, owner_id: str, prompt_type: str) -> str | None:
    """The model for this person's work of this kind: for chat their own choice, then the house's for that kind, then
    the house's for chat. None: nobody chose one, and the workers take what is there."""
    if prompt_type != CHAT:
        row = get(session, prompt_type) or get(session, CHAT)
        return full_name(row.provider, row.model) if row is not None else None
    found = session.execute(_FOR_CHAT, {"user": owner_id}).first()
    if found is None:
        return None
    own, provider, model = found
    return own or (full_name(provider, model) if provider and model else None)


# Asked for every chat that names no model.
_FOR_CHAT = (
    select(col(User.model), col(LlmDefault.provider), col(LlmDefault.model))
    .select_from(User)
    .outerjoin(LlmDefault, col(LlmDefault.prompt_type) == CHAT)
    .where(col(User.id) == bindparam("user"))
)
