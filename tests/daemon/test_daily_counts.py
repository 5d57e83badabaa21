"""Saved segments are counted once a day by a running dispatcher, beside what it sends."""

from datetime import UTC, datetime

from dispatcher.control import commands as c
from dispatcher.daemon.daily_counts import LATE_HOUR, count_segments
from dispatcher.records.keys import parse_public_id
from dispatcher.segments.answers import counts_of
from tests.fakes.house import House, in_house


def at(hour: int) -> int:
    return int(datetime(2026, 3, 1, hour, tzinfo=UTC).timestamp() * 1_000)


def kept(house: House, segment: str) -> list[tuple[str, int]]:
    assert house.store is not None
    number = parse_public_id("seg", segment)
    assert number is not None
    with house.store.snapshot() as view:
        return [(row["day"], row["matched"]) for row in counts_of(view, 1, number)]


@in_house(300)
async def test_each_segment_is_counted_once_and_kept(house: House):
    few = (await house.do(c.SaveSegment(title="Few", expr="points < 10")))["id"]
    everybody = (await house.do(c.SaveSegment(title="All", expr="everyone")))["id"]
    assert await count_segments(house.dispatcher, at(2)) == 0
    assert await count_segments(house.dispatcher, at(3)) == 2
    assert await count_segments(house.dispatcher, at(23)) == 0
    assert (kept(house, few), kept(house, everybody)) == ([("2026-03-01", 60)], [("2026-03-01", 300)])


@in_house(300)
async def test_while_something_is_sent_the_count_waits_for_the_morning(house: House):
    everybody = (await house.do(c.SaveSegment(title="All", expr="everyone")))["id"]
    house.dispatcher.rates.accepted_per_s = 100.0
    assert await count_segments(house.dispatcher, at(LATE_HOUR - 1)) == 0
    house.dispatcher.rates.accepted_per_s = 100.0
    assert await count_segments(house.dispatcher, at(LATE_HOUR)) == 1
    assert kept(house, everybody) == [("2026-03-01", 300)]
