"""Times as Google's activity pages print them, in the language of the account."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

# The beginnings of months, in the languages that are told apart by them.
_MONTHS = {
    stem: number
    for number, stems in enumerate(
        (
            ("jan", "jän", "ene", "gen"),
            ("feb", "fév", "fev"),
            ("mar", "mär", "maa", "mrt"),
            ("apr", "avr", "abr"),
            ("may", "mai", "mei", "maj", "mag"),
            ("jun", "juin", "giu"),
            ("jul", "juil", "lug"),
            ("aug", "aoû", "ago"),
            ("sep", "set"),
            ("oct", "okt", "ott", "out"),
            ("nov",),
            ("dec", "dez", "déc", "dic"),
        ),
        1,
    )
    for stem in stems
}
_ZONES = {  # hours east of Greenwich
    "UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEZ": 0, "BST": 1, "WEST": 1, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2,
    "EET": 2, "OEZ": 2, "EEST": 3, "OESZ": 3, "MSK": 3, "IST": 5.5, "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11,
    "NZST": 12, "NZDT": 13, "BRT": -3, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8,
    "PDT": -7,
}  # fmt: skip
_CLOCK = re.compile(r"(?<![\d.])(\d{1,2})[:.h](\d{2})[:.m](\d{2})(?!\d)")
_AFTERNOON = re.compile(r"\bp\.?\s?m\b|오후|下午|午後|μ\.?μ", re.IGNORECASE)
_MORNING = re.compile(r"\ba\.?\s?m\b|오전|上午|午前|π\.?μ", re.IGNORECASE)
_OFFSET = re.compile(r"(?:UTC|GMT)?\s?([+\u2212-])(\d{1,2})(?::?(\d{2}))?\b")
_YEAR = re.compile(r"\d{4}")
_YEAR_FIRST = re.compile(r"(\d{4})\D{1,3}(\d{1,2})\D{1,3}(\d{1,2})")
_YEAR_LAST = re.compile(r"(\d{1,2})[./-]\s?(\d{1,2})[./-]\s?(\d{4})")
MAX_LENGTH = 70  # characters of such a line


def looks_like_date(line: str) -> bool:
    return len(line) <= MAX_LENGTH and _CLOCK.search(line) is not None and _YEAR.search(line) is not None


def when(line: str) -> tuple[datetime | None, str | None]:
    """The time in UTC, and the zone that is not known and was taken for UTC. None where the line tells no time."""
    clock = _CLOCK.search(line)
    if clock is None or len(line) > MAX_LENGTH:
        return None, None
    date = _date(line[: clock.start()] + " " + line[clock.end() :])
    if date is None:
        return None, None
    hour, minute, second = (int(number) for number in clock.groups())
    if hour <= 12 and _AFTERNOON.search(line):
        hour = hour % 12 + 12
    elif hour == 12 and _MORNING.search(line):
        hour = 0
    offset, unknown = _zone(line[clock.end() :])
    try:
        return datetime(*date, hour, minute, second, tzinfo=timezone(offset)).astimezone(UTC), unknown
    except (ValueError, OverflowError):
        return None, None


def _date(text: str) -> tuple[int, int, int] | None:
    if found := _YEAR_FIRST.search(text):
        year, month, day = (int(number) for number in found.groups())
        return year, month, day
    if found := _YEAR_LAST.search(text):
        day, month, year = (int(number) for number in found.groups())
        return (year, day, month) if month > 12 else (year, month, day)
    numbers = re.findall(r"\d+", text)
    year_text = next((number for number in numbers if len(number) == 4), None)
    day_text = next((number for number in numbers if len(number) <= 2), None)
    for word in re.findall(r"[^\W\d_]{3,}", text.lower()):
        month_number = _MONTHS.get(word[:4]) or _MONTHS.get(word[:3])
        if month_number and year_text and day_text:
            return int(year_text), month_number, int(day_text)
    return None


def _zone(text: str) -> tuple[timedelta, str | None]:
    if found := _OFFSET.search(text):
        minutes = int(found.group(2)) * 60 + int(found.group(3) or 0)
        return timedelta(minutes=minutes if found.group(1) == "+" else -minutes), None
    names = [name for name in re.findall(r"\b[A-Z]{1,5}\b", text) if name not in ("AM", "PM")]
    for name in names:
        if name in _ZONES:
            return timedelta(hours=_ZONES[name]), None
    return timedelta(), names[0] if names else None
