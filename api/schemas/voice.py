"""What clients of /ws/voice say: in its address, and in text frames."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar.datastructures import MultiDict
from pydantic import Field, ValidationError

from api.errors import in_words
from api.schemas.base import MAX_OFFSET, Body, Storable
from config.errors import BadRequest, Unusable

MAX_TEXT_CHARS = 10_000
MAX_HEARD_MS = 86_400_000

Id = Annotated[str | None, Storable]


class TalkIn(Body):
    """`job_id` and `after`: the turn to be told from behind that event; without a job the newest."""

    sample_rate: int = Field(16_000, ge=8_000, le=48_000)
    output_sample_rate: int | None = Field(None, ge=8_000, le=48_000)
    session_id: Id = Field(None, max_length=64)
    job_id: Id = Field(None, max_length=64)
    after: int | None = Field(None, ge=0, le=MAX_OFFSET)
    pause_ms: int | None = Field(None, ge=100, le=10_000)
    barge_in: bool = True
    model: Annotated[str | None, Storable] = Field(None, max_length=200)
    use_rag: bool = True
    system: Annotated[str | None, Storable] = Field(None, max_length=4_000)
    temperature: float | None = Field(None, ge=0, le=5)
    seed: int | None = Field(None, ge=0, lt=2**32)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    voice: Annotated[str | None, Storable] = Field(None, max_length=100)
    speed: float = Field(1.0, ge=0.5, le=2.0)

    def of_the_turns(self) -> dict[str, Any]:
        """What goes with each question that is asked."""
        return self.model_dump(include=_OF_THE_TURNS, exclude_none=True)


_OF_THE_TURNS = {"session_id", "model", "use_rag", "system", "temperature", "seed", "max_tokens", "voice", "speed"}


def read_query(query: MultiDict[str]) -> TalkIn:
    """Raises Unusable."""
    try:
        return TalkIn.model_validate(dict(query))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])[:64]
        raise Unusable(f"{name}: {in_words(first['msg'])}.") from None


class Control(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may say in words. `heard_ms`: of the answer's sound, before it was stopped."""

    type: str
    heard_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_HEARD_MS)] | None = None


def read_control(text: str) -> Control:
    """Raises BadRequest."""
    if len(text) > MAX_TEXT_CHARS:
        raise BadRequest("That message is too long.")
    try:
        return msgspec.json.decode(text.encode(errors="replace"), type=Control)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"Text frames hold a JSON object with a type: {str(error)[:200]}.") from None
