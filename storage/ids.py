"""Identifiers: UUIDv7 text, so that sorting by id is sorting by time of creation."""

from __future__ import annotations

from uuid_utils import uuid7


def new_id() -> str:
    return str(uuid7())
