"""The disk answers EIO: nothing is said to be kept that is not, nothing leaves unclaimed, and it goes on by itself (F11)."""

from __future__ import annotations

import pytest
import trio

from bench.faulty_libc import faulty_libc
from dispatcher.control import commands as c
from dispatcher.errors import CommandRefused
from tests.fakes.house import House, in_house


@in_house(3_000, process=True, started=False, store={"sync": True}, endpoint={"rate": 1_500})
async def test_a_disk_that_fails_in_mid_send_stops_it_and_nothing_is_lost_or_sent_twice(house: House):
    with faulty_libc(house.log.parent) as faults:
        await house.start()
        campaign = await house.send()
        await house.until(lambda: house.smsc.summary()["accepted"] >= 500)
        faults.fail_fdatasync(True)
        with pytest.raises(CommandRefused) as refused:
            await house.do(c.AddSuppression(numbers=["+4917000000001"], why="asked"))
        assert refused.value.status in (503, 507)
        await trio.sleep(0.3)  # what was claimed before it may still leave
        still = house.smsc.summary()["submits"]
        await trio.sleep(0.5)
        assert house.smsc.summary()["submits"] == still < 3_000, "nothing leaves whose claim is not on disk"
        faults.fail_fdatasync(False)
        await house.settled(campaign)
        assert house.judge(campaign)["states"]["delivered"] == 3_000
        await house.do(c.AddSuppression(numbers=["+4917000000001"], why="asked"))
        await house.stop()
