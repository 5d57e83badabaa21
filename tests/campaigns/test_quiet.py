"""The quiet calendar against the clock itself: what it lets go was allowed in every zone the number may be in."""

import itertools
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.campaigns.quiet import LAST_ZONE, Calendar, Quiet, zones_by_number
from dispatcher.store.columns import open_block
from dispatcher.tenants.profile import Hours, QuietRule, get_profile
from tests.fakes.shop import new_member, new_shop

ZONES = [
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Asia/Shanghai",
    "America/St_Johns",
    "Pacific/Apia",
    "Europe/Dublin",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "America/Havana",
    "America/Santiago",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Pacific/Chatham",
]
CHANGES = {  # days on which the clocks of a zone change
    "Europe/Paris": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],
    "Africa/Casablanca": ["2026-02-15", "2026-03-22"],
    "America/St_Johns": ["2026-03-08", "2026-11-01"],
    "Europe/Dublin": ["2026-03-29", "2026-10-25"],
    "Africa/Cairo": ["2026-04-24", "2026-10-30"],  # 00:00 left out; 23:00 twice
    "America/Havana": ["2026-03-08", "2026-11-01"],  # 00:00 left out, and twice
    "America/Santiago": ["2026-04-05", "2026-09-06"],
    "Antarctica/Troll": ["2026-03-29", "2026-10-25"],  # by two hours
    "Asia/Beirut": ["2026-03-29", "2026-10-25"],
    "Pacific/Chatham": ["2026-04-05", "2026-09-27"],  # at 02:45
}
MINUTE_MS, DAY_MS = 60_000, 86_400_000


def ms(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def allowed(rule: QuietRule, zone: str, at_ms: int, holidays: set[str] = frozenset()) -> bool:
    """What a clock on the wall there says, minute by minute."""
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    if local.date().isoformat() in holidays:
        return False
    minute = 60 * local.hour + local.minute
    return any(local.weekday() in one.days and one.opens <= minute < one.closes for one in rule.hours)


hours = st.builds(
    lambda days, edges: Hours(frozenset(days), min(edges), max(edges)),
    st.sets(st.integers(0, 6), min_size=1),
    st.tuples(st.integers(0, 1440), st.integers(0, 1440)).filter(lambda edges: edges[0] != edges[1]),
)
rules = st.builds(
    lambda many: QuietRule(frozenset({"marketing"}), tuple(many)), st.lists(hours, min_size=1, max_size=3)
)
moments = st.one_of(
    st.integers(ms("2026-01-01T00:00"), ms("2027-12-31T00:00")),
    st.tuples(st.sampled_from([(z, d) for z, days in CHANGES.items() for d in days]), st.integers(-1_500, 3_000)).map(
        lambda one: ms(f"{one[0][1]}T00:00", one[0][0]) + one[1] * MINUTE_MS
    ),
)


MONDAYS_FIRST_MINUTE = QuietRule(frozenset({"marketing"}), (Hours(frozenset({0}), 0, 1),))
SATURDAYS_LAST = ms("2026-03-21T23:48")  # on Sunday the clock there is put forward: it shows Monday 24 hours later


@settings(max_examples=300, deadline=None)
@given(rule=rules, at_ms=moments, zone=st.sampled_from(ZONES))
@example(MONDAYS_FIRST_MINUTE, SATURDAYS_LAST, "Africa/Casablanca")
def test_open_and_closed_are_those_of_the_clock_there_and_hold_until_said(rule, at_ms, zone):
    calendar = Calendar(rule, (zone,))
    is_open, until_ms = calendar.open_until((zone,), at_ms)
    assert is_open == allowed(rule, zone, at_ms)
    assert at_ms < until_ms <= at_ms + DAY_MS
    step = max(1, (until_ms - at_ms) // 60)
    assert all(allowed(rule, zone, at) == is_open for at in [*range(at_ms, until_ms, step), until_ms - 1])
    if until_ms < at_ms + DAY_MS:
        assert allowed(rule, zone, until_ms) != is_open, "it changes when it says"


@settings(max_examples=150, deadline=None)
@given(rule=rules, at_ms=moments, zone=st.sampled_from(sorted(CHANGES)))
def test_the_next_opening_is_the_first_minute_that_is_allowed(rule, at_ms, zone):
    calendar = Calendar(rule, (zone,))
    opens_ms = calendar.opens_ms((zone,), at_ms, at_ms + 8 * DAY_MS)
    first = at_ms + MINUTE_MS - at_ms % MINUTE_MS  # rules are in whole minutes
    minutes = [at_ms, *range(first, at_ms + 2 * DAY_MS, MINUTE_MS)]
    met = next((at for at in minutes if allowed(rule, zone, at)), None)
    if met is not None:
        assert opens_ms == met
    elif opens_ms is not None:
        assert opens_ms > at_ms + 2 * DAY_MS - MINUTE_MS and allowed(rule, zone, opens_ms)


@settings(max_examples=150, deadline=None)
@given(rule=rules, at_ms=moments, zones=st.lists(st.sampled_from(ZONES), min_size=2, max_size=4, unique=True))
def test_a_number_of_several_zones_may_go_when_all_of_them_allow_it(rule, at_ms, zones):
    calendar = Calendar(rule, ("Asia/Shanghai",))
    assert calendar.open_until(tuple(zones), at_ms)[0] == all(allowed(rule, zone, at_ms) for zone in zones)
    opens_ms = calendar.opens_ms(tuple(zones), at_ms, at_ms + 3 * DAY_MS)
    if opens_ms is not None:
        assert all(allowed(rule, zone, opens_ms) for zone in zones)


@settings(max_examples=60, deadline=None)
@given(at_ms=moments)
def test_sundays_holidays_and_nights_of_france_are_quiet(at_ms):
    rule = get_profile("fr").quiet
    holidays = {"2026-01-01", "2026-04-06", "2026-05-01", "2026-05-08", "2026-05-14", "2026-05-25", "2026-07-14",
                "2026-08-15", "2026-11-01", "2026-11-11", "2026-12-25", "2027-01-01", "2027-03-29", "2027-05-01",
                "2027-05-06", "2027-05-08", "2027-05-17", "2027-07-14", "2027-08-15", "2027-11-01", "2027-11-11",
                "2027-12-25"}  # fmt: skip
    assert Calendar(rule, ("Europe/Paris",)).is_open("Europe/Paris", at_ms) == allowed(
        rule, "Europe/Paris", at_ms, holidays
    )


def test_a_zone_that_is_none_is_never_open():
    calendar = Calendar(get_profile("us").quiet, ("Mars/Olympus",))
    assert not any(calendar.is_open("Mars/Olympus", ms("2026-06-01T00:00") + hour * 3_600_000) for hour in range(48))
    assert calendar.opens_ms((), ms("2026-06-01T00:00"), ms("2026-06-08T00:00")) is None


def test_every_number_is_in_exactly_one_class_of_zones():
    spans = sorted(span for ranges in zones_by_number().values() for span in ranges)
    assert spans[0][0] == 1 and spans[-1][1] == (1 << 64) - 1
    assert all(high + 1 == low for (_, high), (low, _) in itertools.pairwise(spans))


def number_zones(number: int) -> tuple[str, ...]:
    return next(
        zones for zones, ranges in zones_by_number().items() if any(low <= number <= high for low, high in ranges)
    )


@pytest.mark.parametrize(
    ("number", "zones"),
    [
        (8613912345678, ("Asia/Shanghai",)), (33612345678, ("Europe/Paris",)), (12125550100, ("America/New_York",)),
        (18085550100, ("Pacific/Honolulu",)), (999123456789, ()), (4930123456, ("Europe/Berlin",)),
    ],
)  # fmt: skip
def test_the_zone_of_a_number_is_that_of_its_longest_prefix(number, zones):
    assert number_zones(number) == zones


# -- over a tenant's members


NEW_YORK, HONOLULU, NOWHERE = 12125550100, 18085550100, 999123456789


def quiet_shop(store, profile: str = "us") -> tuple[dict[int, int], Quiet]:
    new_shop(store)
    slots = {number: new_member(store, number) for number in (NEW_YORK, HONOLULU)}
    of = get_profile(profile)
    return slots, Quiet(1, Calendar(of.quiet, of.zones))


def asked(store, quiet: Quiet, at_ms: int, since_ms: int | None = None):
    with store.snapshot() as view:
        columns = open_block(view, 1, 0, quiet.columns)
        return quiet.waits(view, columns, 0b11, at_ms, at_ms if since_ms is None else since_ms)


def test_each_number_waits_for_its_own_morning(store):
    slots, quiet = quiet_shop(store)
    assert list(slots.values()) == [0, 1]
    night = ms("2026-06-02T03:00", "America/New_York")  # 21:00 in Honolulu: just closed
    found = asked(store, quiet, night)
    assert (found.waiting, found.never) == (0b11, 0)
    assert found.opens_ms == ms("2026-06-02T08:00", "America/New_York")
    morning = asked(store, quiet, found.opens_ms)
    assert morning.waiting == 0b10, "New York goes, Honolulu sleeps"
    assert morning.opens_ms == ms("2026-06-02T08:00", "Pacific/Honolulu")
    assert asked(store, quiet, morning.opens_ms).waiting == 0


def test_who_nothing_opens_for_within_the_wait_is_given_up(store):
    _, quiet = quiet_shop(store)
    night = ms("2026-06-02T03:00", "America/New_York")
    found = asked(store, quiet, night, since_ms=night - 7 * DAY_MS)
    assert (found.waiting, found.never) == (0, 0b11)


def test_a_number_that_is_new_in_its_prefix_waits_for_the_next_look(store):
    _, quiet = quiet_shop(store)
    noon = ms("2026-06-02T12:00", "America/New_York")
    assert asked(store, quiet, noon).waiting == 0b10
    third = new_member(store, 13105550100)  # Los Angeles: no number of its range was there
    with store.snapshot() as view:
        columns = open_block(view, 1, 0, quiet.columns)
        found = quiet.waits(view, columns, 1 << third, noon, noon)
        assert found.waiting == 1 << third and found.opens_ms == quiet.until_ms(view, noon, noon)
        later = quiet.waits(view, columns, 1 << third, found.opens_ms, noon)
        assert later.waiting == 0


def test_a_start_by_recipients_clocks_lets_each_zone_wait_for_its_own(store):
    new_shop(store)
    for number in (NEW_YORK, HONOLULU):
        new_member(store, number)
    quiet = Quiet(1, Calendar(None, (), lambda zone: ms("2026-06-02T09:00", zone)))
    early = ms("2026-06-02T08:59", "America/New_York")
    found = asked(store, quiet, early)
    assert (found.waiting, found.opens_ms) == (0b11, ms("2026-06-02T09:00", "America/New_York"))
    assert asked(store, quiet, found.opens_ms).waiting == 0b10
    assert asked(store, quiet, ms("2026-06-02T09:00", "Pacific/Honolulu")).waiting == 0
    assert Calendar(None, (), lambda zone: ms("2026-06-02T09:00", zone)).unknown == (LAST_ZONE,)


def test_a_midnight_that_does_not_exist_is_no_stumbling_block():
    rule = QuietRule(frozenset({"marketing"}), (Hours(frozenset(range(7)), 0, 60),))
    begin = ms("2026-09-05T12:00", "America/Santiago")  # 00:00 of the 6th is left out there
    found = Calendar(rule, ("America/Santiago",)).opens_ms(("America/Santiago",), begin, begin + 3 * DAY_MS)
    assert datetime.fromtimestamp(found / 1000, ZoneInfo("America/Santiago")) - datetime.fromtimestamp(
        begin / 1000, ZoneInfo("America/Santiago")
    ) > timedelta(hours=30)
