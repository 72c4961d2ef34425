"""What a section hands back, and how it looks: one Markdown table with its conditions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """`data` keeps the raw numbers behind the cells, for --json."""

    title: str
    about: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", self.about, "", _line(self.columns)]
        lines.append(_line(["---", *("---:" for _ in self.columns[1:])]))
        lines += [_line(row) for row in self.rows]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join([*lines, ""])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float], unit: str = "") -> str:
    """The median, and the lowest and highest round."""
    middle = number(statistics.median(values)) + unit
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}–{number(max(values))})"


def ratios(ours: Sequence[float], base: Sequence[float]) -> list[float]:
    """Round by round, because two neighbours in time share what else the machine did."""
    return [ours_value / base_value for ours_value, base_value in zip(ours, base, strict=True)]


def at_least(value: float, bound: float, unit: str = "") -> str:
    return f"≥ {bound:g}{unit} {'✓' if value >= bound else '✗'}"


def below(value: float, bound: float, unit: str = "") -> str:
    return f"< {bound:g}{unit} {'✓' if value < bound else '✗'}"
