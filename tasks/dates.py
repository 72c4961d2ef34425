"""When somebody means that something was said: "in March 2024", "on 2024-05-03", "last week". English. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Nobody says which time zone is meant: a day is that day anywhere on earth.
ANYWHERE = timedelta(hours=14)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_BEFORE = r"(?:(?:in|from|on|of|during|around|back in)\s+(?:the\s+)?)?"
_UNITS = r"(?P<unit>day|week|month|year)"


@dataclass(frozen=True, slots=True)
class Period:
    """`since` (included) to `until` (excluded), aware UTC; `rest` is the query without the words that name it."""

    since: datetime
    until: datetime
    rest: str


def period(text: str, now: datetime) -> Period | None:
    """The first period that a query names; None when it names none. Nothing that is quoted is a date."""
    for pattern, meant in _PATTERNS:
        match = pattern.search(text)
        if match is None or text[: match.start()].count('"') % 2:
            continue
        try:
            since, until = meant({name: value for name, value in match.groupdict().items() if value}, now)
            between = Period(since - ANYWHERE, until + ANYWHERE, text[: match.start()] + text[match.end() :])
        except (ValueError, OverflowError):  # the 30th of February, 9000 years ago
            continue
        return between
    return None


Named = dict[str, str]
Bounds = tuple[datetime, datetime]


def _day(named: Named, _now: datetime) -> Bounds:
    month = named["month"]
    number = int(month) if month.isdecimal() else _MONTHS.index(month[:3].lower()) + 1
    day = datetime(int(named["year"]), number, int(named["day"]), tzinfo=UTC)
    return day, day + timedelta(days=1)


def _month(named: Named, now: datetime) -> Bounds:
    """Without a year the last one that has begun."""
    month = named["month"]
    number = int(month) if month.isdecimal() else _MONTHS.index(month[:3].lower()) + 1
    year = int(named["year"]) if "year" in named else now.year - (number > now.month)
    return datetime(year, number, 1, tzinfo=UTC), datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def _year(named: Named, _now: datetime) -> Bounds:
    year = int(named["year"])
    return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)


def _relative(named: Named, now: datetime) -> Bounds:
    """today and yesterday, this, last and the one so many ago, up to its end."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if "word" in named:
        since = today - timedelta(days=named["word"].lower() == "yesterday")
        return since, since + timedelta(days=1)
    back = int(named["count"]) if "count" in named else int(named["which"].lower() == "last")
    match named["unit"].lower():
        case "day":
            since = today - timedelta(days=back)
            return since, since + timedelta(days=1)
        case "week":
            since = today - timedelta(days=today.weekday() + 7 * back)
            return since, since + timedelta(days=7)
        case "month":
            months = 12 * today.year + today.month - 1 - back
            return _month({"year": str(months // 12), "month": str(months % 12 + 1)}, now)
        case _:
            return _year({"year": str(today.year - back)}, now)


def _pattern(body: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){body}(?![\w-])", re.IGNORECASE)


_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[Named, datetime], Bounds]], ...] = (
    (_pattern(rf"{_BEFORE}{_YEAR}-(?P<month>\d\d)-(?P<day>\d\d)"), _day),
    (_pattern(rf"{_BEFORE}(?P<day>\d{{1,2}})\.\s?(?P<month>\d{{1,2}})\.\s?{_YEAR}"), _day),
    (_pattern(rf"{_BEFORE}{_DAY}\s+(?:of\s+)?{_MONTH},?\s+{_YEAR}"), _day),
    (_pattern(rf"{_BEFORE}{_MONTH}\s+{_DAY},?\s+{_YEAR}"), _day),
    (_pattern(rf"{_BEFORE}{_MONTH},?\s+{_YEAR}"), _month),
    (_pattern(rf"{_BEFORE}{_YEAR}-(?P<month>\d\d)"), _month),
    (_pattern(rf"(?:in|last)\s+{_MONTH}"), _month),
    (_pattern(rf"(?:in|from|during)\s+{_YEAR}"), _year),
    (_pattern(r"(?P<word>today|yesterday)"), _relative),
    (_pattern(rf"(?P<which>this|last)\s+{_UNITS}"), _relative),
    (_pattern(rf"(?P<count>\d{{1,3}})\s+{_UNITS}s?\s+ago"), _relative),
)
