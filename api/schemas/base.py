"""What all request bodies have in common. Unknown fields are refused, not swallowed."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from api.errors import in_words
from config.catalogue import full_name
from config.errors import Unusable
from config.settings import get_settings

# Far beyond any listing, and what a database's integer holds.
MAX_OFFSET = 2**53
# How deep JSON may be nested is the encoder's limit (254) less what we put around it.
_SPARE_DEPTH = 54
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

T = TypeVar("T")


def encodable(value: T) -> T:
    """JSON that can be written down again: no number beyond 64 bits, not nested without end."""
    _encode(value)
    return value


def storable(value: T) -> T:
    """`encodable`, and no NUL, which PostgreSQL holds in no text."""
    if _NUL.search(_encode(value)):
        raise ValueError("must not hold NUL characters")
    return value


def _encode(value: object) -> bytes:
    for _ in range(_SPARE_DEPTH):
        value = [value]
    try:
        return orjson.dumps(value)
    except TypeError:
        raise ValueError("is nested too deeply or holds a number beyond 64 bits") from None


Storable = AfterValidator(storable)


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


def one_model(model: str | None, llm_model: str | None, llm_provider: str | None) -> str | None:
    """The one name of the model that was named in either way."""
    if model is not None and llm_model is not None:
        raise ValueError("name the model once: model or llm_model")
    if llm_provider and not llm_model:
        raise ValueError("an llm_provider needs an llm_model")
    if llm_model and llm_provider:
        return full_name(llm_provider, llm_model.removeprefix(f"{llm_provider}/"))
    return model or llm_model or None


def usable_text(value: str) -> str:
    """Text a database and a model can hold: no NUL, no lone surrogates, not blank, not endless."""
    limit = get_settings().max_message_chars
    if len(value) > limit:
        raise ValueError(f"at most {limit} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair, which is no character") from None
    value = value.replace("\0", "")
    if not value.strip():
        raise ValueError("must not be blank")
    return value


B = TypeVar("B", bound=Body)


def parse_body(shape: type[B], value: Any) -> B:
    """A body that a handler reads itself. Raises Unusable with one entry per bad field."""
    return parsed(shape, value, "The body holds values that cannot be used.", ())


def parsed(shape: type[B], value: Any, problem: str, inside: tuple[str, ...]) -> B:
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        problems = [
            {"field": ".".join([*inside, *map(str, item["loc"])]), "message": in_words(item["msg"])}
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise Unusable(problem, errors=problems) from None
