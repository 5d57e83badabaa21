"""The wall clock jumps while messages are sent, or waits two hours for an SMSC: nothing is sent again, nothing ends
early, the rate is kept (PITFALLS F12, L3)."""

from __future__ import annotations

import pytest

from bench.faulty_libc import faulty_libc
from tests.fakes.house import House, in_house

HOUR_S, DAY_S = 3_600, 86_400
RATE, MEMBERS = 1_000, 2_500


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 400 * DAY_S])
@in_house(MEMBERS, process=True, started=False, endpoint={"rate": RATE}, receipt_delay_ms=400)
async def test_a_clock_that_jumps_in_mid_send_changes_nothing_for_the_messages(house: House, jump_s: int):
    with faulty_libc(house.log.parent) as faults:
        await house.start()
        campaign = await house.send()
        await house.until(lambda: house.smsc.summary()["accepted"] >= 1_000)
        faults.shift_clock(jump_s)
        await house.settled(campaign)
        counts = house.judge(campaign)
        assert counts["states"]["delivered"] == MEMBERS and counts["resent"] == 0
        at_ms = sorted(line.at_ms for line in house.lines())
        burst = RATE * 11 // 10  # the simulator lives in this loop and may be late itself
        assert all(late - early >= 990 for early, late in zip(at_ms, at_ms[burst:], strict=False))
        assert MEMBERS / (at_ms[-1] - at_ms[0]) * 1e3 > 0.95 * RATE
        await house.stop()


@in_house(300, process=True, started=False, refuse_binds=-1)
async def test_an_smsc_that_is_away_for_two_hours_costs_no_message(house: House):
    with faulty_libc(house.log.parent) as faults:
        await house.start()
        campaign = await house.send()
        await house.until(lambda: house.smsc.summary()["binds_refused"] >= 3)
        faults.shift_clock(2 * HOUR_S)
        refused = house.smsc.summary()["binds_refused"]
        await house.until(lambda: house.smsc.summary()["binds_refused"] >= refused + 10)
        counts = house.counts(campaign)
        assert (counts["unsent"], house.state(campaign)) == (300, "running"), counts
        house.smsc.change(refuse_binds=0)
        await house.settled(campaign)
        assert house.judge(campaign)["states"]["delivered"] == 300
        await house.stop()
