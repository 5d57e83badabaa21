"""The SMSC is away, refuses to bind, or breaks the connection in mid-window."""

from __future__ import annotations

import pytest
import trio

from dispatcher.smpp.consts import ESME_RALYBND, ESME_RBINDFAIL, ESME_RINVPASWD
from tests.fakes.house import House, in_house


@in_house(1_000)
async def test_a_campaign_to_everyone_is_sent_once_and_every_receipt_counted(house: House):
    counts = house.judge(await house.send_all())
    assert counts["states"]["delivered"] == counts["accepted"] == 1_000


@pytest.mark.parametrize("status", [ESME_RBINDFAIL, ESME_RALYBND])
@in_house(refuse_binds=5, started=False)
async def test_a_refused_bind_is_tried_again_and_then_everything_is_sent(house: House, status: int):
    house.smsc.change(refuse_status=status)
    await house.start()
    counts = house.judge(await house.send_all())
    assert counts["accepted"] == 500
    assert house.smsc.summary()["binds_refused"] == 5


@in_house(refuse_binds=-1, refuse_status=ESME_RINVPASWD)
async def test_a_wrong_password_is_not_tried_again_at_once(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["binds_refused"] == 1)
    await trio.sleep(0.5)
    assert house.smsc.summary()["connections"] == 1, "one try, then five minutes: retries lock accounts"
    status = await house.status()
    assert all("0x0000000E" in bind["last_error"] for bind in status["binds"])
    assert house.counts(campaign)["unsent"] == 500, "nothing is claimed without a bind"


@in_house(started=False)
async def test_an_smsc_that_is_not_there_is_waited_for(house: House):
    real, house.port = house.port, 1  # nobody listens there
    await house.start()
    campaign = await house.send()
    await house.until(lambda: all("refused" in b.last_error for b in house.dispatcher.pool.binds))
    assert house.counts(campaign)["unsent"] == 500
    house.port = real
    await house.restart()
    await house.settled(campaign)
    house.judge(campaign)


@in_house(2_000, drop_every=150)
async def test_a_connection_closed_in_mid_window_costs_at_most_its_window_and_doubles_nothing(house: House):
    campaign = await house.send()
    await house.until(lambda: house.state(campaign) == "done")
    house.smsc.change(drop_every=0)
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == 0)
    counts = house.judge(campaign)
    dropped = house.smsc.summary()["dropped"]
    assert dropped >= 10
    assert counts["states"]["uncertain"] + counts["states"]["delivered"] == 2_000
    assert 0 < counts["states"]["uncertain"] <= 20 * dropped


@in_house(2_000, delay_ms=5)
async def test_an_smsc_that_crashes_over_and_over_costs_only_what_was_in_flight(house: House):
    campaign = await house.send()
    for least in (200, 400, 600):
        await house.until(lambda least=least: house.smsc.summary()["accepted"] >= least)
        house.smsc.close_all()
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["uncertain"] <= 3 * 2 * 20


@in_house(2_000, delay_ms=5)
async def test_an_unbind_from_the_smsc_is_answered_and_the_bind_comes_back(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    house.smsc.unbind_all()
    await house.until(lambda: house.smsc.summary()["binds"] >= 4)
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["uncertain"] == 0, "what was in flight could still be answered"


@in_house(500, endpoint={"binds": 1})
async def test_what_was_claimed_and_never_left_goes_out_on_the_next_connection(house: House):
    house.smsc.change(delay_ms=50)
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["submits"] >= 20)
    house.smsc.change(delay_ms=0)
    house.smsc.close_all()
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["uncertain"] <= 20, "one window"
    assert counts["states"]["delivered"] >= 480
