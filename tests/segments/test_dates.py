"""The calendar of a segment: days around an instant, birthdays over leap years, ages."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.control.commands import DefineField, EditTenant
from dispatcher.members.fields import define_field
from dispatcher.segments.count import count
from dispatcher.segments.dates import Moment, births, born_by, celebrated, moved, number_of
from dispatcher.segments.rule import Span
from dispatcher.tenants.edit import edit_tenant
from dispatcher.tenants.tenant import LEAP_RULES
from tests.fakes.shop import do, new_member, new_shop
from tests.reference import segments as reference


def at(text: str, zone: str = "UTC", leap_rule: str = "feb28") -> Moment:
    """The moment of a UTC time."""
    return Moment(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000), zone, leap_rule)


def days_of(year: int) -> list[date]:
    return [date(year, 1, 1) + timedelta(n) for n in range(366 if calendar.isleap(year) else 365)]


@pytest.mark.parametrize("leap_rule", LEAP_RULES)
def test_everybody_is_greeted_once_a_year_from_2000_to_2100(leap_rule: str) -> None:
    for year in (*range(2000, 2101, 4), 2001, 2007, 2097, 2099, 2100):  # 2100 is no leap year
        greeted: dict[int, int] = {}
        for day in days_of(year):
            for low, high in celebrated((day, day), leap_rule):
                for code in range(low, high + 1):
                    greeted[code] = greeted.get(code, 0) + 1
        everybody = {day.month * 32 + day.day for day in days_of(2024)}
        greeted = {
            code: times for code, times in greeted.items() if code in everybody
        }  # nobody was born on 30 February
        if leap_rule == "leap" and not calendar.isleap(year):
            everybody.remove(2 * 32 + 29)
        assert greeted == dict.fromkeys(everybody, 1), year


@given(
    st.dates(date(1999, 1, 1), date(2101, 12, 31)),
    st.integers(0, 800),
    st.sampled_from(LEAP_RULES),
    st.dates(date(2024, 1, 1), date(2024, 12, 31)),
)
def test_a_birthday_falls_in_a_span_when_one_of_its_days_is_one(first: date, more: int, rule: str, born: date) -> None:
    last = first + timedelta(more)
    greeted = any(reference.celebrates(born.isoformat()[5:], first + timedelta(n), rule) for n in range(more + 1))
    code = born.month * 32 + born.day
    assert any(low <= code <= high for low, high in celebrated((first, last), rule)) == greeted


@given(
    st.dates(date(1900, 1, 1), date(2024, 12, 31)), st.dates(date(2024, 1, 1), date(2024, 12, 31)), st.integers(0, 60)
)
def test_births_of_a_span_are_the_days_of_every_year_with_such_a_birthday(born: date, first: date, more: int) -> None:
    runs = celebrated((first, first + timedelta(more)), "leap")
    code = born.month * 32 + born.day
    expected = any(low <= code <= high for low, high in runs)
    ranges = births(runs, 2024)
    assert any(low <= number_of(born) <= high for low, high in ranges) == expected
    assert all(low <= high for low, high in ranges)


@given(
    st.dates(date(1900, 1, 1), date(2101, 12, 31)) | st.sampled_from([date(1996, 2, 29), date(2000, 2, 29)]),
    st.dates(date(1990, 1, 1), date(2101, 12, 31)) | st.sampled_from([date(2023, 2, 28), date(2024, 2, 29), date(2100, 3, 1)]),
    st.integers(0, 130),
    st.sampled_from(LEAP_RULES),
)  # fmt: skip
def test_somebody_has_an_age_when_born_by_its_day(born: date, today: date, age: int, rule: str) -> None:
    moment = at(f"{today}T12:00:00", leap_rule=rule)
    world = reference.World(moment.as_of_ms, "UTC", rule)
    mine = reference.age_of(born.isoformat(), world)
    latest = born_by(age, moment)
    assert (mine is not None and mine >= age) == (latest is not None and number_of(born) <= latest)


@pytest.mark.parametrize(
    ("rule", "born", "today", "age"),
    [
        ("feb28", "2000-02-29", "2023-02-27", 22),
        ("feb28", "2000-02-29", "2023-02-28", 23),
        ("mar1", "2000-02-29", "2023-02-28", 22),
        ("mar1", "2000-02-29", "2023-03-01", 23),
        ("leap", "2000-02-29", "2023-03-01", 23),
        ("feb28", "2000-02-29", "2024-02-28", 23),
        ("feb28", "2000-02-29", "2100-02-28", 100),
        ("mar1", "2000-02-29", "2100-02-28", 99),
        ("feb28", "2000-03-01", "2023-02-28", 22),
        ("feb28", "2000-03-01", "2024-02-29", 23),
    ],
)
def test_an_age_turns_on_the_day_of_the_leap_rule(rule: str, born: str, today: str, age: int) -> None:
    moment = at(f"{today}T12:00:00", leap_rule=rule)
    assert reference.age_of(born, reference.World(moment.as_of_ms, "UTC", rule)) == age
    number, youngest, older = number_of(date.fromisoformat(born)), born_by(age, moment), born_by(age + 1, moment)
    assert older is not None and youngest is not None and older < number <= youngest


@pytest.mark.parametrize(
    ("today", "what", "first", "last"),
    [
        ("2024-12-31", "tomorrow", "2025-01-01", "2025-01-01"),
        ("2024-03-01", "yesterday", "2024-02-29", "2024-02-29"),
        ("2024-12-30", "this week", "2024-12-30", "2025-01-05"),  # a Monday
        ("2024-12-29", "this week", "2024-12-23", "2024-12-29"),  # a Sunday
        ("2025-01-01", "last week", "2024-12-23", "2024-12-29"),
        ("2024-12-29", "next week", "2024-12-30", "2025-01-05"),
        ("2024-03-31", "last month", "2024-02-01", "2024-02-29"),
        ("2024-01-31", "next month", "2024-02-01", "2024-02-29"),
        ("2024-12-05", "next month", "2025-01-01", "2025-01-31"),
        ("2024-02-29", "last year", "2023-01-01", "2023-12-31"),
        ("2024-02-29", "this year", "2024-01-01", "2024-12-31"),
        ("2024-02-29", "next year", "2025-01-01", "2025-12-31"),
    ],
)
def test_days_and_periods_have_their_edges(today: str, what: str, first: str, last: str) -> None:
    assert [day.isoformat() for day in at(f"{today}T23:59:59").named(what)] == [first, last]


@pytest.mark.parametrize(
    ("day", "span", "sign", "expected"),
    [
        ("2024-03-31", Span(1, "month"), -1, "2024-02-29"),
        ("2023-03-31", Span(1, "month"), -1, "2023-02-28"),
        ("2024-02-29", Span(1, "year"), -1, "2023-02-28"),
        ("2024-02-29", Span(4, "year"), 1, "2028-02-29"),
        ("2024-01-15", Span(13, "month"), -1, "2022-12-15"),
        ("2024-01-15", Span(2, "week"), -1, "2024-01-01"),
        ("2024-01-15", Span(30, "day"), -1, "2023-12-16"),
        ("2024-01-15", Span(36_525, "year"), -1, "0001-01-01"),
        ("2024-01-15", Span(36_525, "year"), 1, "9999-12-31"),
        ("0001-01-15", Span(36_525, "day"), -1, "0001-01-01"),
    ],
)
def test_a_span_leads_to_a_day(day: str, span: Span, sign: int, expected: str) -> None:
    assert moved(date.fromisoformat(day), span, sign).isoformat() == expected


@pytest.mark.parametrize(
    ("zone", "utc", "today", "days", "since"),
    [
        ("Europe/Berlin", "2024-03-31T21:59:59", "2024-03-31", 1, "2024-03-29T23:00:00"),  # the day of 23 hours
        ("Europe/Berlin", "2024-03-31T22:00:00", "2024-04-01", 1, "2024-03-30T23:00:00"),
        ("Europe/Berlin", "2024-10-28T00:00:00", "2024-10-28", 1, "2024-10-26T22:00:00"),  # back over 25 hours
        ("America/Sao_Paulo", "2018-11-05T12:00:00", "2018-11-05", 1, "2018-11-04T03:00:00"),  # a day without 00:00
        ("Pacific/Kiritimati", "2024-01-01T10:00:00", "2024-01-02", 30, "2023-12-02T10:00:00"),
        ("Pacific/Apia", "2011-12-31T12:00:00", "2012-01-01", 1, "2011-12-30T10:00:00"),  # the 30th never was
    ],
)
def test_today_and_the_days_back_are_those_of_the_zone(zone: str, utc: str, today: str, days: int, since: str) -> None:
    moment = at(utc, zone)
    assert moment.today.isoformat() == today
    back = datetime.fromtimestamp(moment.since_ms(Span(days, "day")) / 1000, UTC)
    assert back.replace(tzinfo=None).isoformat() == since


def test_an_edited_leap_rule_holds_for_the_next_count(store):
    new_shop(store)
    do(store, define_field, DefineField(title="birthday", kind="month_day"))
    new_member(store, birthday="02-29")
    day_ms = {day: int(datetime(2027, *day, 12, tzinfo=UTC).timestamp() * 1_000) for day in ((2, 28), (3, 1))}

    def born(day) -> int:
        with store.snapshot() as view:
            return count(view, 1, "birthday is today", as_of_ms=day_ms[day])["matched"]

    assert [born((2, 28)), born((3, 1))] == [1, 0]
    do(store, edit_tenant, EditTenant(changes={"leap_rule": "mar1"}))
    assert [born((2, 28)), born((3, 1))] == [0, 1]
    do(store, edit_tenant, EditTenant(changes={"leap_rule": "leap"}))
    assert [born((2, 28)), born((3, 1))] == [0, 0]
