"""How fast each campaign goes by itself, and what it is told to be limited by."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dispatcher.control import commands as c
from dispatcher.daemon.going import Going
from dispatcher.records.keys import public_id
from tests.daemon.test_schedule import begun, drafted
from tests.fakes.house import House, in_house

S = 1_000_000_000


def test_a_steady_pace_is_told_from_the_first_second_and_a_pause_fades():
    going = Going()
    going.begin(0)
    for step in range(1, 101):
        going.took(5, step * S // 10)  # 50 a second
        assert step < 10 or going.per_s(step * S // 10) == pytest.approx(50, rel=0.1)
    assert going.per_s(13 * S) < 20 and going.per_s(40 * S) < 0.01
    going.begin(50 * S)
    assert going.per_s(51 * S) == 0


async def live(house: House, campaign: int) -> dict[str, Any]:
    return (await house.do(c.AskStatus(), tenant=0))["campaigns"][public_id("cmp", campaign)]


@in_house(400, endpoint={"rate": 100})
async def test_campaigns_side_by_side_are_told_their_own_pace_and_limit(house: House):
    slow, other = await drafted(house, rate=20), await drafted(house)
    await begun(house, slow)
    await begun(house, other)
    await house.until(lambda: house.smsc.summary()["accepted"] >= 150)
    of_slow, of_other = await live(house, slow), await live(house, other)
    assert (of_slow["limit"], of_other["limit"]) == ("campaign_rate", "endpoint_rate")
    assert of_slow["per_s"] < 45 < of_other["per_s"] < 150, "neither is told the sum"
    await house.do(c.PauseCampaign(campaign=other))
    assert (await live(house, other))["limit"] == "paused"


@in_house(50)
async def test_whoever_waits_for_the_window_or_the_spread_is_told_so(house: House):
    hour = (time.gmtime().tm_hour + 12) % 24
    window = {"from": f"{hour:02}:00", "to": f"{(hour + 1) % 24:02}:00"}
    shut = await drafted(house, schedule={"window": window, "zone": "UTC"})
    spread = await drafted(house, schedule={"spread_over_s": 3600})
    await begun(house, shut)
    await begun(house, spread)
    waits = await live(house, shut)
    assert (waits["limit"], waits["per_s"]) == ("window", 0)
    assert waits["opens_ms"] > time.time() * 1000 + 3_600_000
    spreads = await live(house, spread)
    assert (spreads["limit"], spreads["opens_ms"]) == ("spread", None)
