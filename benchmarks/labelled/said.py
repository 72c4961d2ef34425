"""One conversation of the labelled set."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Said:
    """`texts`: a person's and an assistant's, in turn."""

    key: str
    day: datetime
    title: str
    texts: list[str]
