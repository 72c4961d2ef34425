"""What a message sounded like: kept with the message, in `parts`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, update
from sqlmodel import Session

from storage.tables import Message

_messages: Table = Message.__table__  # type: ignore[attr-defined]
_PART = "emotion"


def of(message: Message) -> dict[str, Any] | None:
    """{primary_emotion, confidence, scores, backend}; None where nobody asked, or nobody could tell."""
    return message.parts.get(_PART)


def keep(session: Session, message: Message, emotion: dict[str, Any]) -> None:
    parts = {**message.parts, _PART: emotion}
    session.execute(update(_messages).where(_messages.c.id == message.id).values(parts=parts))
