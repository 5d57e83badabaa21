"""When a campaign goes out: times in a zone, the hours of a clock change, windows, repetitions, and what is refused."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from dispatcher.campaigns.schedule import (
    DAYS,
    FOREVER_MS,
    checked,
    first_ms,
    following_ms,
    in_words,
    opening,
    window_of,
    zone_of,
)
from dispatcher.errors import CommandRefused

BERLIN = "Europe/Berlin"  # clocks go back on 2026-10-25 at 03:00 and forward on 2027-03-28 at 02:00
ZONE = ZoneInfo(BERLIN)


def ms(text: str, zone: str = BERLIN) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


NOW_MS = ms("2026-09-21T16:00")


def wrong(**schedule):
    with pytest.raises(CommandRefused) as caught:
        checked(schedule, BERLIN, NOW_MS)
    assert caught.value.status == 422
    return caught.value


def starts(**schedule) -> int:
    found = checked(schedule, BERLIN, NOW_MS)
    return first_ms(found, zone_of(found, BERLIN))


def times(repeat: str, at: str, count: int = 4) -> list[str]:
    """Local times of the first repetitions."""
    schedule = checked({"at": at, "repeat": repeat}, BERLIN, NOW_MS)
    found = [first_ms(schedule, ZONE)]
    while len(found) < count and (following := following_ms(schedule, ZONE, found[-1])) is not None:
        found.append(following)
    return [datetime.fromtimestamp(each / 1000, ZONE).isoformat(timespec="minutes")[:16] for each in found]


def test_no_schedule_and_an_empty_one_are_the_same():
    assert checked(None, BERLIN, NOW_MS) is None
    assert checked({}, BERLIN, NOW_MS) is None
    assert checked({"zone": "tenant", "spread_over_s": 0}, BERLIN, NOW_MS) is None


def test_a_local_time_is_of_the_tenants_zone_or_of_the_given_one():
    assert starts(at="2026-12-01T09:00") == ms("2026-12-01T09:00")
    assert starts(at="2026-12-01T09:00", zone="Asia/Shanghai") == ms("2026-12-01T09:00", "Asia/Shanghai")


def test_a_time_with_an_offset_is_that_instant_whatever_the_zone():
    for text in ("2026-12-01T08:00:00Z", "2026-12-01T16:00+08:00"):
        assert starts(at=text, zone="America/New_York") == ms("2026-12-01T09:00")


@pytest.mark.parametrize("at", ["2026-09-21T15:59", "2026-09-21T16:00", "2020-01-01T00:00", "2026-09-21T13:59Z"])
def test_a_time_that_is_past_is_refused_and_says_what_time_it_is(at):
    refusal = wrong(at=at)
    assert (refusal.code, refusal.errors[0]["pointer"]) == ("schedule_in_the_past", "/schedule/at")
    assert "2026-09-21T14:00:00.000Z" in refusal.detail


@pytest.mark.parametrize("at", ["2027-03-28T02:00", "2027-03-28T02:30", "2027-03-28T02:59:59"])
def test_the_hour_that_a_clock_change_leaves_out_is_refused_with_the_next_one(at):
    refusal = wrong(at=at)
    assert refusal.code == "schedule_missing_hour"
    assert "2027-03-28T03:" in refusal.detail
    assert starts(at=at + "Z" if len(at) == 19 else at + ":00Z") > NOW_MS, "an instant is never missing"


def test_the_hours_beside_the_missing_one_and_other_zones_are_taken():
    assert starts(at="2027-03-28T01:59") == ms("2027-03-28T01:59")
    assert starts(at="2027-03-28T03:00") - starts(at="2027-03-28T01:59") == 60_000
    assert starts(at="2027-03-28T02:30", zone="UTC") == ms("2027-03-28T02:30", "UTC")


def test_an_hour_that_comes_twice_means_the_first():
    assert starts(at="2026-10-25T02:30") == starts(at="2026-10-25T00:30:00Z")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("at", "tomorrow"), ("at", 7), ("at", "2099-01-01T00:00"), ("at", "9999-12-31T23:59"), ("at", "0001-01-01T00:00"), ("zone", "Mars/Base"), ("zone", 1),
        ("spread_over_s", -1), ("spread_over_s", True), ("if_late", "maybe"), ("repeat", 1), ("repeat", "FREQ=DAILY"),
        ("count_change_percent", "5"), ("hour", 9), ("window", "day"), ("window", {"from": "09:00"}),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused_with_its_place(part, value):
    refusal = wrong(**{part: value})
    assert refusal.code == "invalid_schedule"
    assert refusal.errors[0]["pointer"] == ("/schedule/at" if value == "FREQ=DAILY" else f"/schedule/{part}")


@pytest.mark.parametrize("given", [[], "x", 3, True])
def test_a_schedule_is_an_object(given):
    with pytest.raises(CommandRefused):
        checked(given, BERLIN, NOW_MS)


@pytest.mark.parametrize(
    "window",
    [
        {"from": "09:00", "to": "09:00"}, {"from": "00:00", "to": "00:00"},
        {"from": "24:00", "to": "09:00"}, {"from": "09:00", "to": "20:00", "days": []},
    ],
)  # fmt: skip
def test_a_window_that_never_opens_is_refused(window):
    assert wrong(window=window).code == "schedule_never_opens"


@pytest.mark.parametrize("bad", ["9:00", "25:00", "09:60", "0900", "24:01", None, "²1:00"])
def test_an_hour_is_written_with_two_digits_each(bad):
    assert wrong(window={"from": bad, "to": "20:00"}).errors[0]["pointer"] == "/schedule/window/from"


def window(**parts):
    return window_of(checked({"window": {"from": "09:00", "to": "20:00", **parts}}, BERLIN, NOW_MS))


@pytest.mark.parametrize(
    ("now", "open_", "until"),
    [
        ("2026-09-21T08:59:59", False, "2026-09-21T09:00"),
        ("2026-09-21T09:00", True, "2026-09-21T20:00"),
        ("2026-09-21T19:59:59", True, "2026-09-21T20:00"),
        ("2026-09-21T20:00", False, "2026-09-22T09:00"),
    ],
)
def test_a_window_is_open_from_its_first_second_to_before_its_last(now, open_, until):
    assert opening(window(), ZONE, ms(now)) == (open_, ms(until))


def test_without_a_window_it_is_always_open():
    assert opening(None, ZONE, NOW_MS) == (True, FOREVER_MS)


def test_a_window_over_midnight_belongs_to_the_day_it_opens_on():
    night = window(**{"from": "22:00", "to": "06:00", "days": ["mo"]})  # 2026-09-21 is a Monday
    assert opening(night, ZONE, ms("2026-09-22T05:59")) == (True, ms("2026-09-22T06:00"))
    assert opening(night, ZONE, ms("2026-09-21T05:59")) == (False, ms("2026-09-21T22:00"))
    assert opening(night, ZONE, ms("2026-09-22T06:00")) == (False, ms("2026-09-28T22:00"))


@pytest.mark.parametrize("day", DAYS)
def test_a_window_of_one_day_opens_once_a_week_whatever_day_it_is_asked_on(day):
    one = window(days=[day])
    for hour in range(24 * 8):
        open_, until = opening(one, ZONE, NOW_MS + hour * 3_600_000)
        at = datetime.fromtimestamp(until / 1000, ZONE)
        assert DAYS[at.weekday()] == day
        assert at.hour == (20 if open_ else 9)
        assert 0 < until - (NOW_MS + hour * 3_600_000) <= 7 * 86_400_000


def test_a_window_keeps_its_hours_over_a_clock_change():
    open_, until = opening(window(), ZONE, ms("2026-10-24T21:00"))
    assert (open_, until) == (False, ms("2026-10-25T09:00"))
    missing = window(**{"from": "02:10", "to": "02:50"})
    open_, until = opening(missing, ZONE, ms("2027-03-28T01:00"))
    assert not open_ and until == ms("2027-03-28T03:10"), "an hour later on the clock"


def test_a_repetition_keeps_its_hour_over_a_clock_change():
    assert times("FREQ=DAILY", "2026-10-24T09:00", 3) == ["2026-10-24T09:00", "2026-10-25T09:00", "2026-10-26T09:00"]
    assert times("FREQ=DAILY", "2027-03-27T02:30", 3) == ["2027-03-27T02:30", "2027-03-28T03:30", "2027-03-29T02:30"]


def test_rules_of_a_week_a_month_and_a_year():
    assert times("RRULE:FREQ=WEEKLY;BYDAY=TU,FR", "2026-12-01T09:00") == [
        "2026-12-01T09:00", "2026-12-04T09:00", "2026-12-08T09:00", "2026-12-11T09:00",
    ]  # fmt: skip
    assert times("freq=monthly;byday=-1fr", "2026-10-30T09:00", 2) == ["2026-10-30T09:00", "2026-11-27T09:00"]
    assert times("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "2028-02-29T09:00", 2)[1:] == ["2032-02-29T09:00"]


def test_count_and_until_end_a_repetition():
    assert len(times("FREQ=DAILY;COUNT=3", "2026-12-01T09:00", 9)) == 3
    assert len(times("FREQ=DAILY;UNTIL=20261202T090000", "2026-12-01T09:00", 9)) == 2


@pytest.mark.parametrize(
    ("repeat", "code"),
    [
        ("EVERY DAY", "invalid_schedule"), ("FREQ=HOURLY", "invalid_schedule"), ("FREQ=DAILY;BYHOUR=9", "invalid_schedule"),
        ("FREQ=DAILY;INTERVAL=0", "invalid_schedule"), ("FREQ=DAILY;COUNT=-1", "invalid_schedule"),
        ("FREQ=WEEKLY;BYDAY=XX", "invalid_schedule"), ("FREQ=DAILY;UNTIL=20270101T000000Z", "invalid_schedule"),
        ("FREQ=DAILY;UNTIL=soon", "invalid_schedule"), ("FREQ=WEEKLY;BYDAY=MO", "invalid_schedule"),
        ("FREQ=MONTHLY;BYMONTHDAY=40", "schedule_never_opens"), ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "schedule_never_opens"),
        ("FREQ=DAILY;UNTIL=20261130T000000", "schedule_never_opens"), ("FREQ=DAILY;FREQ", "invalid_schedule"),
        ("FREQ=DAILY;UNTIL=2027", "invalid_schedule"), ("FREQ=DAILY;UNTIL=20261231", "invalid_schedule"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "invalid_schedule"), ("FREQ=MONTHLY;BYMONTHDAY=1,00", "invalid_schedule"),
        ("FREQ=WEEKLY;BYDAY=2TU", "invalid_schedule"), ("FREQ=DAILY;BYDAY=MO,-1TU", "invalid_schedule"),
    ],
)  # fmt: skip
def test_a_rule_that_is_none_or_never_comes_is_refused(repeat, code):
    refusal = wrong(at="2026-12-01T09:00", repeat=repeat)
    assert (refusal.code, refusal.errors[0]["pointer"]) == (code, "/schedule/repeat")


def test_a_schedule_is_told_in_one_line():
    schedule = checked(
        {"at": "2026-12-01T09:00", "repeat": "FREQ=DAILY", "window": {"from": "09:00", "to": "20:00"}}, BERLIN, NOW_MS
    )
    assert in_words(schedule, ZONE) == (
        "at 2026-12-01 09:00:00 Europe/Berlin; again by FREQ=DAILY; "
        "from 09:00 to 20:00 on mo, tu, we, th, fr, sa, su, Europe/Berlin"
    )
