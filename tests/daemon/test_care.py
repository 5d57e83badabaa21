"""Store care in a running dispatcher: refusal at the limit, what may be done all the same, and what status tells."""

from __future__ import annotations

import signal
import sys

import pytest
import trio

from dispatcher.control import commands as c
from dispatcher.daemon.housekeeping import take_care
from dispatcher.errors import CommandRefused
from tests.fakes.house import House, in_house


@in_house(200, store={"store_max_octets": 100_000})
async def test_a_store_at_its_limit_refuses_new_work_but_not_what_stops_or_frees(house: House):
    with pytest.raises(CommandRefused) as refused:
        await house.do(c.CreateCampaign(title="more", text="more"))
    assert refused.value.status == 507 and "store_max_octets = 100,000" in refused.value.detail
    assert "raise store_max_octets" in refused.value.detail, "and what to do"
    await house.do(c.AddSuppression(numbers=[f"+{house.numbers[0]}"]))
    no = {"number": f"+{house.numbers[1]}", "purpose": "marketing", "given": False, "source": "call", "at_ms": 1}
    await house.do(c.RecordConsents(consents=[no]))
    status = await house.status()
    care = status["care"]
    assert (care["state"], care["stale_readers"]) == ("full", 0) and care["store_percent"] > 90
    (alarm,) = status["alarms"]
    assert (alarm["object"], alarm["code"]) == ("store", "store_full") and "archive" in alarm["remedy"]


@in_house(200, store={"store_max_octets": 8 << 20, "alarm_percent": 1})
async def test_between_alarm_and_limit_work_goes_on(house: House):
    await house.send_all()
    status = await house.status()
    assert (status["care"]["state"], [one["code"] for one in status["alarms"]]) == ("alarm", ["store_alarm"])


@in_house(50)
async def test_the_slots_of_readers_that_were_killed_are_cleared_and_counted(house: House):
    code = f"""
import os, signal
from dispatcher.store import open_store
store = open_store({str(house.settings.data)!r})
view = store.snapshot()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = await trio.run_process([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (await house.status())["care"]["readers"] == 1
    take_care(house.dispatcher)
    found = (await house.status())["care"]
    assert (found["readers"], found["stale_readers"]) == (0, 1)
