"""The calendar of a segment: one instant, the days around it, birthdays over leap years, and ages.

Touches: nothing. Everything follows from a Moment: the instant, the tenant's zone and its leap rule.
Rests on: PRODUCT E, time and birthday. Weeks begin on Monday. A month or year back from a day that the earlier
month has not is that month's last day.

The leap rule says when somebody born on 29 February has a birthday in a year of 365 days: on 28 February (feb28),
on 1 March (mar1), or not at all (leap). An age turns on the same day; under `leap`, where a common year has no such
day, on 1 March, because everybody grows a year older each year.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

from dispatcher.segments.rule import Span

YEARS_FROM = 1900  # nobody with a phone was born before
_EPOCH = date(1970, 1, 1).toordinal()
_CYCLE = 8  # years that have every birthday in them under every rule: 2100 is no leap year
FEB_28, LEAP_DAY, MAR_1 = 2 * 32 + 28, 2 * 32 + 29, 3 * 32 + 1  # month x 32 + day, as a month_day column has it

Days = tuple[date, date]  # both inside
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Moment:
    """The instant that a segment is evaluated at; every relative date follows from it."""

    as_of_ms: int
    zone: str = "UTC"
    leap_rule: str = "feb28"

    @cached_property
    def today(self) -> date:
        return datetime.fromtimestamp(self.as_of_ms / 1000, ZoneInfo(self.zone)).date()

    def since_ms(self, span: Span) -> int:
        """00:00 of the day that lies a span back."""
        day = moved(self.today, span, -1)
        return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.zone)).timestamp() * 1000)

    def last(self, span: Span) -> Days:
        """In last 30 days: thirty days back, today included."""
        return moved(self.today, span, -1), self.today

    def next(self, span: Span) -> Days:
        """In next 7 days: today and the seven after it."""
        return self.today, moved(self.today, span, 1)

    def named(self, what: str) -> Days:
        """The days that `what` means: today, last week, next year, ..."""
        today = self.today
        if what in ("today", "tomorrow", "yesterday"):
            days = {"today": 0, "tomorrow": 1, "yesterday": -1}[what]
            return (today + timedelta(days),) * 2
        which, unit = what.split()
        first = {
            "week": today - timedelta(today.weekday()),
            "month": today.replace(day=1),
            "year": today.replace(month=1, day=1),
        }[unit]
        first = moved(first, Span(1, unit), {"this": 0, "last": -1, "next": 1}[which])
        return first, moved(first, Span(1, unit), 1) - timedelta(1)


def moved(day: date, span: Span, sign: int) -> date:
    """`day` a span later or earlier; the calendar's first or last day where that would lie outside it."""
    count = span.count * sign
    if span.unit in ("month", "year"):
        months = day.year * 12 + day.month - 1 + count * (12 if span.unit == "year" else 1)
        year, month = months // 12, months % 12 + 1
        if not date.min.year <= year <= date.max.year:
            return date.min if count < 0 else date.max
        return date(year, month, min(day.day, monthrange(year, month)[1]))
    days = day.toordinal() + count * (7 if span.unit == "week" else 1)
    return date.fromordinal(min(max(days, 1), date.max.toordinal()))


def number_of(day: date) -> int:
    """As a date column has it: days since 1970-01-01."""
    return day.toordinal() - _EPOCH


@lru_cache(maxsize=512)
def celebrated(days: Days, leap_rule: str) -> Ranges:
    """Which birthdays fall on `days`, as ranges of month x 32 + day; both ends inside.

    A range over the end of a month has numbers in it that are no day, which nobody has.
    """
    first, last = days[0], min(days[1], moved(days[0], Span(_CYCLE, "year"), 1))
    runs: list[tuple[int, int]] = []
    for year in range(first.year, last.year + 1):
        low = _code(first) if year == first.year else 32 + 1
        high = _code(last) if year == last.year else 12 * 32 + 31
        if isleap(year):
            runs.append((low, high))
            continue
        runs += [run for run in ((low, min(high, FEB_28)), (max(low, MAR_1), high)) if run[0] <= run[1]]
        if any(low <= day <= high and leap_rule == rule for rule, day in (("feb28", FEB_28), ("mar1", MAR_1))):
            runs.append((LEAP_DAY, LEAP_DAY))
    merged: list[tuple[int, int]] = []
    for low, high in sorted(runs):
        if merged and (low <= merged[-1][1] + 1 or (merged[-1][1], low) == (LEAP_DAY, MAR_1)):
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return tuple(merged)


def _code(day: date) -> int:
    return day.month * 32 + day.day


@lru_cache(maxsize=512)
def births(birthdays: Ranges, last_year: int) -> Ranges:
    """The same birthdays as ranges of a date column, in every year from 1900 to the last."""
    found = []
    for year in range(YEARS_FROM, last_year + 1):
        for low, high in birthdays:
            first, last = _in_year(year, low, 1), _in_year(year, high, 0)
            if first <= last:
                found.append((number_of(first), number_of(last)))
    return tuple(found)


def _in_year(year: int, code: int, forward: int) -> date:
    """The day with this birthday; for a 29 February that the year has not, the day after or before."""
    if code == LEAP_DAY and not isleap(year):
        return date(year, 2 + forward, 1 if forward else 28)
    return date(year, code >> 5, code & 31)


def born_by(age: int, moment: Moment) -> int | None:
    """The latest birth, as a date column has it, that makes somebody `age` or older; None when nobody can be."""
    today = moment.today
    year = today.year - age
    if year < 1:
        return None
    if (today.month, today.day) == (2, 29) and not isleap(year):
        return number_of(date(year, 2, 28))
    if (today.month, today.day) == (2, 28) and not isleap(today.year) and isleap(year) and moment.leap_rule == "feb28":
        return number_of(date(year, 2, 29))
    return number_of(date(year, today.month, today.day))
