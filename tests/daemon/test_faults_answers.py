"""What a refused submit_sm brings: sent again, given up, or failed with its reason; and answers that never come."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio

from dispatcher.smpp.consts import ESME_RINVDSTADR, ESME_RMSGQFUL, ESME_RTHROTTLED
from tests.fakes.house import House, in_house

ESME_RSUBMITFAIL, VENDOR = 0x45, 0x55F


@pytest.mark.parametrize("status", [ESME_RTHROTTLED, ESME_RMSGQFUL])
@in_house(600, endpoint={"adapt_rate": False})
async def test_what_is_refused_for_now_is_sent_again_and_delivered(house: House, status: int):
    house.smsc.change(status_every=((7, status),))
    campaign = await house.send()
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] == 600
    summary = house.smsc.summary()
    assert counts["retries"] == summary["refused"] + summary["throttled"] >= 600 // 7


@in_house(20, dispatcher={"retry_s": 0.2})
async def test_a_full_queue_is_tried_ever_more_slowly(house: House):
    house.smsc.change(status_every=((1, ESME_RMSGQFUL),))
    campaign = await house.send()
    await trio.sleep(4.5)
    assert 20 * 4 <= house.smsc.summary()["submits"] <= 20 * 14, "22 of each at the first pace"
    house.smsc.change(status_every=())
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 20


@in_house(400, endpoint={"adapt_rate": False}, dispatcher={"retry_s": 0.4})
async def test_after_a_throttle_nothing_leaves_for_the_retry_time(house: House):
    house.smsc.change(status_every=((100, ESME_RTHROTTLED),))
    await house.send_all()
    at_ms = [line.at_ms for line in house.lines()]
    gaps = [b - a for a, b in pairwise(at_ms)]
    assert sum(gap >= 390 for gap in gaps) == house.smsc.summary()["throttled"]


@in_house(600)
async def test_an_address_the_smsc_does_not_take_fails_that_one_message_with_its_reason(house: House):
    house.smsc.change(status_every=((10, ESME_RINVDSTADR),))
    campaign = await house.send_all()
    counts = house.judge(campaign)
    assert (counts["states"]["failed"], counts["states"]["delivered"]) == (60, 540)
    failed = [r for r in house.recipients(campaign) if r["state"] == "failed"]
    assert {r["error"] for r in failed} == {ESME_RINVDSTADR}
    assert not {r["msisdn"].lstrip("+") for r in failed} & {line.destination for line in house.lines()}


@pytest.mark.parametrize("status", [ESME_RSUBMITFAIL, VENDOR])
@in_house(100, dispatcher={"tries_max": 3})
async def test_a_status_that_says_little_is_tried_three_times_and_then_failed(house: House, status: int):
    house.smsc.change(status_every=((1, status),))
    campaign = await house.send_all()
    counts = house.judge(campaign)
    assert counts["states"]["failed"] == 100
    assert house.smsc.summary()["submits"] == 300
    assert {(r["tries"], r["error"]) for r in house.recipients(campaign)} == {(3, status)}


@in_house(600, dispatcher={"tries_max": 3})
async def test_a_status_that_says_little_and_passes_costs_nothing(house: House):
    house.smsc.change(status_every=((9, ESME_RSUBMITFAIL),))
    counts = house.judge(await house.send_all())
    assert counts["states"]["delivered"] + counts["states"]["failed"] == 600
    assert counts["states"]["delivered"] >= 595


@in_house(300, dispatcher={"tries_max": 2})
async def test_a_status_that_ends_the_bind_puts_the_refused_message_back(house: House):
    house.smsc.change(status_every=((100, 0x04),))
    campaign = await house.send_all()
    counts = house.judge(campaign)
    assert house.smsc.summary()["binds"] > 2, "the bind was made anew"
    assert counts["states"]["delivered"] + counts["states"]["uncertain"] == 300


@in_house(600, endpoint={"response_timeout_s": 1.0})
async def test_one_answer_that_never_comes_makes_one_message_uncertain_and_the_window_lives(house: House):
    house.smsc.change(mute_every=50)
    campaign = await house.send_all()
    counts = house.judge(campaign)
    muted = house.smsc.summary()["muted"]
    assert counts["states"]["uncertain"] == muted >= 12
    assert house.smsc.summary()["binds"] <= 2, "no bind was given up for it"
    status = await house.status()
    assert (status["in_flight"], status["claimed_open"], status["uncertain_parts"]) == (0, 0, muted)


@in_house(300, endpoint={"response_timeout_s": 1.0}, dispatcher={"holding_s": 0.3})
async def test_an_smsc_that_answers_nothing_is_left_and_what_it_had_is_held_for_marketing(house: House):
    house.smsc.change(mute_every=1)
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["connections"] >= 4)
    house.smsc.change(mute_every=0)
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["uncertain"] == house.smsc.summary()["muted"]
    assert counts["states"]["delivered"] == 300 - counts["states"]["uncertain"] > 0


@in_house(300, endpoint={"response_timeout_s": 1.0}, dispatcher={"holding_s": 0.3})
async def test_a_transactional_message_without_an_answer_is_sent_once_more_after_the_holding_time(house: House):
    house.smsc.change(mute_every=1)
    campaign = await house.send(purpose="transactional")
    await house.until(lambda: house.smsc.summary()["connections"] >= 4)
    house.smsc.change(mute_every=0)
    await house.settled(campaign)
    counts = house.judge(campaign, resends=True)
    assert counts["states"]["delivered"] == 300
    assert counts["resent"] == house.smsc.summary()["muted"]


@in_house(100, endpoint={"response_timeout_s": 0.2, "window": 200}, dispatcher={"holding_s": 0.3})
async def test_uncertain_again_after_that_it_is_held(house: House):
    house.smsc.change(mute_every=1)
    campaign = await house.send(purpose="transactional")
    await house.settled(campaign)
    counts = house.judge(campaign, resends=True)
    assert counts["states"]["uncertain"] == 100
    assert house.smsc.summary()["muted"] == 200, "each left twice"


@in_house(100, endpoint={"response_timeout_s": 0.2, "window": 200}, dispatcher={"holding_s": 0.5}, delay_ms=400)
async def test_an_answer_that_comes_late_still_settles_its_message(house: House):
    campaign = await house.send(purpose="transactional")
    await house.until(lambda: house.counts(campaign)["states"]["uncertain"] == 100)
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == 100)
    await house.until(lambda: house.state(campaign) == "done")
    counts = house.judge(campaign)
    assert counts["resent"] == 0
    assert (await house.status())["totals"]["late"] == 100
