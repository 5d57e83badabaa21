"""Conditions on dates, birthdays and ages as tests of a column.

Touches: nothing; dates.py is the calendar.
Rests on: PRODUCT E. Every condition on an unknown date is false. A birthday is the day and month of a month_day
field, or of the date field called birthday (from 1900 to the year of today): what is asked of it is asked of the day
it is celebrated on. The age is
that of the date field called birthday, in full years, never stored; without a year of birth it is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dispatcher.members.fields import Field
from dispatcher.segments import rule
from dispatcher.segments.column_tests import Always, Complement, Test, in_ranges, known_range, outside
from dispatcher.segments.dates import Moment, births, born_by, celebrated, number_of
from dispatcher.segments.refusal import refused

BIRTHDAY = "birthday"
AGE = "age"
AGE_MAX = 10_000  # past the calendar anyway
YEARS_AHEAD = 100  # for dates to come, such as a contract's end
RelativeCondition = rule.IsDay | rule.Within | rule.Older | rule.DaysSince
AgeCondition = rule.Compare | rule.Between | rule.OneOf | rule.Is
Ranges = list[tuple[int, int]]


def relative(of: Field, node: RelativeCondition, moment: Moment) -> Test:
    """A date or birthday held against today. Raises CommandRefused."""
    if is_birthday(of):
        return _birthday(of, node, moment)
    if of.kind != "date":
        raise refused(f"`{of.name}` is not a date, so it has no day to compare with today", node.at, ["a date field"])
    today = number_of(moment.today)
    least, most = known_range(of)
    match node:
        case rule.IsDay(_, what, negated):
            first, last = map(number_of, moment.named(what))
            return outside(of, [(first, last)]) if negated else in_ranges(of, [(first, last)])
        case rule.Within(_, span, ahead):
            first, last = map(number_of, moment.next(span) if ahead else moment.last(span))
            return in_ranges(of, [(first, last)])
        case rule.Older(_, span):
            return in_ranges(of, [(least, number_of(moment.last(span)[0]) - 1)])
        case rule.DaysSince(_, comparison, value):
            # days since = today - the date: a later date has fewer, one ahead of today has less than none
            ranges = compared(comparison, whole(value.text, value.at), least, most)
            return in_ranges(of, [(today - high, today - low) for low, high in ranges])


def in_month(of: Field, month: int, at: int, moment: Moment) -> Test:
    """Born in a month, or a date that lies in one, whatever the year."""
    if of.kind == "month_day":
        return in_ranges(of, [(month * 32 + 1, month * 32 + 31)])
    if of.kind != "date":
        raise refused(f"`{of.name}` is not a date, so it has no month", at, ["a date field"])
    last = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, 31)
    years_ahead = 0 if is_birthday(of) else YEARS_AHEAD
    return in_ranges(of, births(((month * 32 + 1, month * 32 + last),), moment.today.year + years_ahead))


def is_birthday(of: Field) -> bool:
    return of.kind == "month_day" or (of.kind == "date" and of.name == BIRTHDAY)


def _birthday(of: Field, node: RelativeCondition, moment: Moment) -> Test:
    match node:
        case rule.IsDay(_, what):
            days = moment.named(what)
        case rule.Within(_, span, ahead):
            days = moment.next(span) if ahead else moment.last(span)
        case _:
            detail = f"`{of.name}` comes every year, so no days count since it; use age, or is, in next, in last"
            raise refused(detail, node.at, ["is today", "in next", "in last", "in month"])
    found = celebrated(days, moment.leap_rule)
    ranges = found if of.kind == "month_day" else births(found, moment.today.year)
    return outside(of, ranges) if isinstance(node, rule.IsDay) and node.negated else in_ranges(of, ranges)


def age_test(birthday: Field, node: AgeCondition, moment: Moment, warn: Callable[[str], None]) -> Test:
    """A condition on the derived age. Raises CommandRefused."""
    if birthday.kind != "date":
        warn(f"{birthday.name} has no year, so every age is unknown")
    match node:
        case rule.Is(_, ("yes" | "no") as what):
            raise refused(f"`is {what}` does not fit age, which is a number", node.at, ["known", "unknown"])
        case rule.Is(_, what):
            known = _aged(birthday, [(0, AGE_MAX)], moment)
            return known if what == "known" else Complement(known)
        case rule.Compare(_, comparison, value):
            ranges = compared(comparison, _age(value), 0, AGE_MAX)
        case rule.Between(_, low, high):
            ranges = [(_age(low), _age(high))]
            if ranges[0][0] > ranges[0][1]:
                warn(f"age between {low} and {high}: the first is above the second, so nobody matches")
        case rule.OneOf(_, values, negated):
            ages = sorted({_age(value) for value in values})
            ranges = [(age, age) for age in ages]
            if negated:
                lows, highs = [0, *(age + 1 for age in ages)], [*(age - 1 for age in ages), AGE_MAX]
                ranges = [(low, high) for low, high in zip(lows, highs, strict=True) if low <= high]
    return _aged(birthday, ranges, moment)


def _aged(birthday: Field, ages: Iterable[tuple[int, int]], moment: Moment) -> Test:
    """Members whose age lies in one of `ages`; who is born after today has none."""
    if birthday.kind != "date":
        return Always(False)
    least, _ = known_range(birthday)
    ranges = []
    for low, high in ages:
        youngest, older = born_by(max(low, 0), moment), born_by(high + 1, moment)
        if youngest is not None and low <= high and high >= 0:
            ranges.append((least if older is None else older + 1, youngest))
    return in_ranges(birthday, ranges)


def _age(value: rule.Value) -> int:
    if not value.number:
        guess = value.text if value.text.isdecimal() else None
        raise refused("age is a number: compare it without quotes", value.at, ["a number"], guess)
    return max(-1, min(whole(value.text, value.at), AGE_MAX))


def whole(text: str, at: int) -> int:
    if "." in text or not text.lstrip("-").isdecimal():
        raise refused(f"{text[:20]}: a whole number is needed here", at, ["a number"])
    return int(text)


def compared(comparison: str, number: int, least: int, most: int) -> Ranges:
    """The whole numbers from `least` to `most` that compare so with `number`."""
    found = {
        "=": [(number, number)],
        "!=": [(least, number - 1), (number + 1, most)],
        "<": [(least, number - 1)],
        "<=": [(least, number)],
        ">": [(number + 1, most)],
        ">=": [(number, most)],
    }[comparison]
    return [(max(low, least), min(high, most)) for low, high in found if max(low, least) <= min(high, most)]
