"""A message and how it is to be answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from api.schemas.base import Body, Storable, usable_text

MAX_BIASES = 300
MAX_LOGPROB_TOKENS = 4096
MAX_DEADLINE_S = 86_400
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,7}$")]


class ResponseFormat(Body):
    """A JSON schema the answer must fit, any JSON object, or a GBNF grammar."""

    type: Literal["json_schema", "json_object", "grammar"]
    json_schema: Annotated[dict[str, Any] | None, Storable] = Field(default=None, alias="schema")
    grammar: Annotated[str | None, Storable] = Field(default=None, max_length=65_536)

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormat:
        if (self.json_schema is not None, self.grammar is not None) != (
            self.type == "json_schema",
            self.type == "grammar",
        ):
            raise ValueError("a json_schema has a schema, a grammar has a grammar, a json_object has neither")
        return self


class ChatOptions(Body):
    """What chat takes on every surface that has it, the message itself aside."""

    session_id: str | None = Field(default=None, description="A conversation; default: your current session")
    model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    use_rag: bool = Field(default=True, description="Answer with passages found in your conversations")
    system: Annotated[str | None, Storable] = Field(default=None, max_length=100_000)
    temperature: float | None = Field(default=None, ge=0, le=5)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=1000)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=200), Storable]], Field(max_length=16)] | None
    ) = None
    response_format: ResponseFormat | None = None
    repeat_penalty: float | None = Field(default=None, gt=0, le=2, description="1 is none; local models")
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: (
        Annotated[dict[TokenId, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MAX_BIASES)] | None
    ) = Field(default=None, description="By the model's own token ids, as `logprobs` tells them; -100 forbids one")
    logprobs: int | None = Field(default=None, ge=0, le=20, description="Alternatives told with each token")
    deadline_s: float | None = Field(
        default=None, gt=0, le=MAX_DEADLINE_S, description="Seconds from now until the answer must be complete"
    )
    cache: bool | None = Field(
        default=None, description="Tell an earlier answer to the very same request again; default: at temperature 0"
    )
    emotion: bool | None = Field(default=None, description="Tell the emotion of the message with its answer")
    cancel_on_disconnect: bool = False

    def options(self) -> ChatOptions:
        """These alone, without the message, whatever a surface calls it."""
        return ChatOptions.model_construct(**{name: getattr(self, name) for name in ChatOptions.model_fields})

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("logprobs")
    @classmethod
    def _tellable(cls, value: int | None, info: ValidationInfo) -> int | None:
        """What is told about each token is kept with the job, so there is a bound to it."""
        if value is not None and (info.data.get("max_tokens") or 0) > MAX_LOGPROB_TOKENS:
            raise ValueError(f"only with max_tokens of at most {MAX_LOGPROB_TOKENS}")
        return value


class ChatIn(ChatOptions):
    message: str = Field(min_length=1)

    @field_validator("message")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)


class TextChatIn(ChatOptions):
    """ClarityMentor's word for it."""

    text: str = Field(min_length=1)
    emotion: bool | None = Field(default=True, description="Tell the emotion of the text with its answer")

    @field_validator("text")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)


class PromptIn(ChatOptions):
    """PocketLLM's word for it."""

    prompt: str = Field(min_length=1)

    @field_validator("prompt")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)
