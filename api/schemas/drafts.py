"""Project drafts, the talk about one, and the project that comes of it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from api.schemas.base import Body, Storable, one_model, usable_text


class DraftOptions(Body):
    """`llm_model` and `llm_provider` are the seed's names for the model."""

    model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    llm_model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    llm_provider: Annotated[str | None, Storable] = Field(default=None, max_length=100)
    accept_summarization: bool = Field(default=False, description="Where the conversation is too long for the model")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        self.model = one_model(self.model, self.llm_model, self.llm_provider)
        return self


class DraftIn(DraftOptions):
    conversation_id: str = Field(max_length=36)


class DraftChatOptions(Body):
    """What is said about a draft."""

    message: str = Field(min_length=1)
    model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    llm_model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    llm_provider: Annotated[str | None, Storable] = Field(default=None, max_length=100)
    attachment_ids: list[Annotated[str, Field(max_length=36)]] = Field(
        default=[], max_length=20, description="Files of this conversation that go with the message"
    )

    @field_validator("message")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        self.model = one_model(self.model, self.llm_model, self.llm_provider)
        return self


class DraftChatIn(DraftChatOptions):
    conversation_id: str = Field(max_length=36)


class ProjectOptions(Body):
    """What is not said is the draft's."""

    title: str | None = Field(default=None, min_length=1)
    description: str | None = Field(default=None, min_length=1)

    @field_validator("title", "description")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        return None if value is None else usable_text(value)


class ProjectIn(ProjectOptions):
    conversation_id: str = Field(max_length=36)
