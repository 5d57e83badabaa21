"""Ten thousand opt out of a broadcast that runs at full rate: the confirmation is the last they hear of us (DESIGN 1)."""

from __future__ import annotations

import random
from collections import defaultdict

from dispatcher.cli.demo_judge import Line
from dispatcher.tenants import market
from tests.fakes.house import BRAND, SENDER, House, in_house, reply_to

CONFIRMED = market.CONFIRM_STOP.replace("{brand}", BRAND)
MEMBERS, STOPS, AT_ONCE = 60_000, 10_000, 500


@in_house(MEMBERS, brand=BRAND, endpoint={"binds": 4, "window": 100}, receipt_delay_ms=20)
async def test_who_opts_out_in_mid_broadcast_hears_one_confirmation_and_then_nothing(house: House):
    """STOPs come in waves while it is being sent: before, in and after their own message."""
    stopped = random.Random(5).sample(house.numbers, STOPS)
    campaign = await house.send()
    for first in range(0, STOPS, AT_ONCE):
        for number in stopped[first : first + AT_ONCE]:
            house.smsc.inject_mo(str(number), SENDER, "STOP")
        await house.until(lambda first=first: house.smsc.summary()["mo_answered"] >= first)
    await house.settled(campaign)
    await house.until(lambda: house.smsc.summary()["mo_answered"] == STOPS)
    await house.until(lambda: len(house.lines()) == house.counts(campaign)["sent"] + STOPS, within_s=60)
    heard = defaultdict[str, list[Line]](list)
    for line in house.lines():
        heard[line.destination].append(line)
    for number in stopped:
        hashes = [line.octets_hash for line in heard[str(number)]]
        confirmation = reply_to(number, CONFIRMED).octets_hash
        assert hashes.count(confirmation) == 1 and hashes[-1] == confirmation and len(hashes) <= 2, number
    counts = house.judge(campaign, *(reply_to(number, CONFIRMED) for number in stopped))
    spared = sum(len(heard[str(number)]) == 1 for number in stopped)
    assert counts["skipped"] == {"opted_out": spared} and counts["states"]["delivered"] == MEMBERS - spared
    assert 100 < spared < STOPS - 100, "of both kinds"
