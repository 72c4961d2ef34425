"""Identifiers: UUIDv7 text, so that sorting by id is sorting by time of creation."""

from __future__ import annotations

import uuid

from uuid_utils import uuid7


def new_id() -> str:
    return str(uuid7())


def is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
