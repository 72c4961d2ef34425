"""One request inside the engine, as plain data: what the scheduler decides about and what the loop carries out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from workers.ports import Sampling


class Priority(IntEnum):
    """Who goes first. A class may take the slot of a lower one."""

    VOICE = 0
    CHAT = 1
    SUMMARIZE = 2
    BATCH = 3


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the engine is asked: token ids, and how the answer is drawn.

    `resumed` are an answer's tokens that were drawn before and `shown` the text they were shown as; the answer goes on
    after them. `grammar` is GBNF. `job_id` is the name under which it waits. `deadline_s` counts from submission.
    """

    tokens: tuple[int, ...]
    resumed: tuple[int, ...] = ()
    shown: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    grammar: str | None = None
    priority: Priority = Priority.CHAT
    owner: str = ""
    job_id: str = ""
    deadline_s: float | None = None


@dataclass(slots=True, eq=False)
class Sequence:
    """`tokens[:computed]` are in the cache of `slot`; the rest is to be decoded. The last token drawn never needs to
    be, so `limit` (where the answer ends at the latest) is never exceeded by what is cached."""

    tokens: list[int]
    limit: int
    priority: Priority = Priority.CHAT
    owner: str = ""
    arrived: float = 0.0
    deadline: float | None = None
    slot: int | None = None
    computed: int = 0
    admitted: float = 0.0
    reused: int = 0  # tokens taken over from the cache at the last admission
    kept_until: int = 0  # not preempted before it has this many tokens
    cancelled: bool = False  # set by any thread, seen at the next step
    forget: bool = False  # its cache is kept for nobody
    job_id: str = ""

    @property
    def todo(self) -> int:
        return len(self.tokens) - self.computed

    @property
    def cells_to_come(self) -> int:
        return max(self.limit - self.computed, 0)


@dataclass(frozen=True, slots=True)
class Step:
    """Tokens of one sequence to decode now. `draws`: they are all that is known, so the next token is drawn."""

    sequence: Sequence
    slot: int
    start: int
    count: int
    draws: bool

    @property
    def tokens(self) -> list[int]:
        return self.sequence.tokens[self.start : self.start + self.count]


@dataclass(frozen=True, slots=True)
class Trim:
    """Keep the first `keep` tokens of a slot's cache."""

    slot: int
    keep: int


@dataclass(frozen=True, slots=True)
class Copy:
    """Take the first `keep` tokens of `source`'s cache over into the empty `slot`."""

    source: int
    slot: int
    keep: int


@dataclass(frozen=True, slots=True)
class Save:
    """Put a slot's whole cache aside under `key`, in place of those `instead_of` it."""

    slot: int
    key: int
    tokens: tuple[int, ...]
    instead_of: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Restore:
    """Fetch what is aside under `key` into the empty `slot`, and keep its first `keep` tokens."""

    key: int
    slot: int
    keep: int


Operation = Trim | Copy | Save | Restore


@dataclass(frozen=True, slots=True)
class Ended:
    sequence: Sequence
    reason: Literal["cancelled", "deadline"]


@dataclass(slots=True)
class Plan:
    """To be carried out in this order."""

    ended: list[Ended] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
