"""A contracted rate: never exceeded in any sliding second of the simulator's log, and nearly reached."""

from __future__ import annotations

import pytest

from tests.fakes.house import LONG_TEXT, House, in_house

ALLOWANCE_MS = 10  # of the promise (DESIGN 1): the wire and two schedulers lie between our socket and the log


def most_in_a_second(house: House) -> int:
    at_ms = [line.at_ms for line in house.lines()]
    first = most = 0
    for last, now in enumerate(at_ms):
        while at_ms[first] <= now - 1_000 + ALLOWANCE_MS:
            first += 1
        most = max(most, last - first + 1)
    return most


def per_second(house: House) -> float:
    at_ms = [line.at_ms for line in house.lines()]
    return (len(at_ms) - 1) * 1000 / (at_ms[-1] - at_ms[0])


@pytest.mark.parametrize("rate", [200, 1_000])
@in_house(1_500, started=False)
async def test_the_rate_is_kept_in_every_sliding_second_and_nearly_reached(house: House, rate: int):
    house.endpoint(rate=rate, window=100)
    await house.start()
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= min(1_500, rate * 3 // 2))
    assert most_in_a_second(house) <= rate
    assert per_second(house) >= 0.95 * rate
    if rate == 1_000:
        await house.settled(campaign)
        house.judge(campaign)


@in_house(120, endpoint={"rate": 300})
async def test_the_rate_counts_parts(house: House):
    campaign = await house.send_all(LONG_TEXT)
    house.judge(campaign)
    assert most_in_a_second(house) <= 300
    assert per_second(house) >= 0.95 * 300


@in_house(600, endpoint={"rate": 400})
async def test_a_connection_that_breaks_does_not_make_a_burst(house: House):
    campaign = await house.send()
    for least in (100, 200, 300):
        await house.until(lambda least=least: house.smsc.summary()["accepted"] >= least)
        house.smsc.close_all()
    await house.settled(campaign)
    house.judge(campaign)
    assert most_in_a_second(house) <= 400


@in_house(1_500, tps=500, dispatcher={"retry_s": 0.3})
async def test_an_smsc_with_a_lower_limit_than_ours_slows_us_and_loses_nothing(house: House):
    campaign = await house.send()
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] == 1_500
    assert counts["retries"] == house.smsc.summary()["throttled"] > 0
