"""Recordings and texts that become one another."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from api.schemas.base import Body, Storable, usable_text

MAX_SPOKEN_CHARS = 20_000  # some 25 minutes
MAX_PHRASES, MAX_PHRASE_CHARS = 200, 200

Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PHRASE_CHARS), Storable]


class TranscribeIn(Body):
    """What goes with a recording."""

    phrases: list[Phrase] = Field(default=[], max_length=MAX_PHRASES, description="Nothing else was said")


class SpeakIn(Body):
    text: str = Field(min_length=1, max_length=MAX_SPOKEN_CHARS)
    voice: Annotated[str | None, Storable] = Field(default=None, max_length=100, description="GET /api/voice/voices")
    speed: float = Field(default=1.0, ge=0.5, le=2.0)
    sample_rate: int | None = Field(default=None, ge=8_000, le=48_000, description="Samples a second; the voice's own")

    @field_validator("text")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)
