"""What answers are described with: dicts by their fields, each with an example, and the operation around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

JSON = "application/json"


def eg(example: Any, about: str | None = None) -> Any:
    return Field(examples=[example], description=about)


Id = Annotated[str, eg("019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10")]
Time = Annotated[str, Field(examples=["2026-11-21T09:30:00.000Z"], json_schema_extra={"format": "date-time"})]
Text = Annotated[str, eg("Prune them in late winter, above a bud that looks outward.")]
Title = Annotated[str, eg("Roses")]
Model = Annotated[str, eg("qwen2.5-7b-instruct-q4_k_m")]
Provider = Annotated[str, eg("local")]
Count = Annotated[int, Field(ge=0, examples=[3])]
Bytes = Annotated[int, Field(ge=0, examples=[52_428])]
Milliseconds = Annotated[int, Field(ge=0, examples=[840])]
Seconds = Annotated[float, Field(ge=0, examples=[0.84])]
Percent = Annotated[float, Field(ge=0, le=100, examples=[12.5])]
Score = Annotated[float, eg(0.8123, "How near it is: 1 is the same")]
Yes = Annotated[bool, eg(True)]
No = Annotated[bool, eg(False)]
Object = Annotated[dict[str, Any], eg({})]


class Paged(TypedDict):
    total: Annotated[int, Field(ge=0, examples=[1])]
    limit: Annotated[int, Field(ge=0, examples=[50])]
    offset: Annotated[int, Field(ge=0, examples=[0])]


class Done(TypedDict):
    success: Literal[True]
    message: Annotated[str, eg("Done.")]


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is no JSON of ours: text, with an example, or `binary`."""

    type: str
    example: str | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """What is sent: an example, or one by each name.

    `shape`: of a body that the handler reads itself; `form`: texts beside the `file` of a multipart body.
    """

    example: Mapping[str, Any] | None = None
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shape: Any = None
    form: tuple[str, ...] | None = None


# None has no body, a TypedDict is JSON, a Media is what it says; several are told apart by their types.
Answer = Any


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one address takes and answers.

    `answers`: by status. `errors`: statuses of problems that come of what it does; those that come of its form (a body,
    an id in the address, a sign-in) are added to all alike. `headers`: of its answers, name → what it tells.
    """

    answers: Mapping[int, Answer]
    sent: Sent | None = None
    errors: tuple[int, ...] = ()
    makes_job: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def ok(answer: Answer, *errors: int, status: int = 200, sent: Mapping[str, Any] | Sent | None = None) -> Operation:
    return Operation({status: answer}, _sent(sent), errors)


def _sent(sent: Mapping[str, Any] | Sent | None) -> Sent | None:
    return sent if isinstance(sent, Sent) or sent is None else Sent(sent)
