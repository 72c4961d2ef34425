"""Summaries: asked for, or written by a person."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from api.schemas.base import Body, Storable, usable_text


class SummaryOptions(Body):
    model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    replace_edited: bool = Field(default=False, description="Also where a person has written the summary")


class SummarizeIn(SummaryOptions):
    conversation_id: str = Field(max_length=36)


class SummaryIn(Body):
    """A person's own words."""

    summary: str = Field(min_length=1)

    @field_validator("summary")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)
