"""Pause, resume, cancel, and people changed in the middle of a campaign: it obeys at once and the counts add up."""

from __future__ import annotations

import time

import pytest
import trio

from dispatcher.control import commands as c
from dispatcher.errors import CommandRefused
from dispatcher.smpp.consts import ESME_RMSGQFUL, ESME_RTHROTTLED
from tests.fakes.house import House, in_house


def after(house: House, at_ms: float) -> int:
    return sum(line.at_ms > at_ms for line in house.lines())


@in_house(3_000, delay_ms=5)
async def test_pause_ends_the_submits_within_a_moment_and_resume_goes_on(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    await house.do(c.PauseCampaign(campaign=campaign))
    paused_ms = time.time() * 1000
    await trio.sleep(0.3)
    assert after(house, paused_ms + 100) == 0
    await house.until(lambda: house.counts(campaign)["states"]["claimed"] == 0)
    counts = house.judge(campaign)
    assert counts["unsent"] == 3_000 - counts["sent"] > 0, "what was claimed and had not left is unsent again"
    await house.do(c.ResumeCampaign(campaign=campaign))
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 3_000


@in_house(1_500, delay_ms=5)
async def test_paused_and_resumed_over_and_over_everybody_has_it_once(house: House):
    campaign = await house.send()
    for _ in range(30):
        await house.do(c.PauseCampaign(campaign=campaign))
        await house.do(c.ResumeCampaign(campaign=campaign))
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 1_500


@in_house(5, mute_every=5)
async def test_a_pause_between_the_last_answer_and_the_end_is_no_error(house: House, capsys):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] == 4)
    await house.do(c.PauseCampaign(campaign=campaign))
    house.dispatcher._finish(1, campaign)
    await house.until(lambda: not house.dispatcher._marking)
    assert house.state(campaign) == "paused"
    await house.do(c.ResumeCampaign(campaign=campaign))
    await house.settled(campaign)
    assert "step_failed" not in capsys.readouterr().out


@in_house(1_000, delay_ms=5)
async def test_a_paused_campaign_is_still_paused_after_a_restart_and_then_goes_on(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 200)
    await house.do(c.PauseCampaign(campaign=campaign))
    await house.restart()
    sent = house.smsc.summary()["accepted"]
    await trio.sleep(0.2)
    assert house.smsc.summary()["accepted"] == sent
    await house.do(c.ResumeCampaign(campaign=campaign))
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 1_000


@in_house(2_000, delay_ms=5)
async def test_cancel_ends_it_for_good_and_what_was_not_sent_is_counted_unsent(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    await house.do(c.CancelCampaign(campaign=campaign))
    cancelled_ms = time.time() * 1000
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == house.counts(campaign)["sent"])
    await house.restart()
    await trio.sleep(0.2)
    assert after(house, cancelled_ms + 100) == 0
    counts = house.judge(campaign)
    assert counts["sent"] == house.smsc.summary()["accepted"] and counts["unsent"] == 2_000 - counts["sent"]
    with pytest.raises(CommandRefused):
        await house.do(c.ResumeCampaign(campaign=campaign))


@pytest.mark.parametrize("status", [ESME_RTHROTTLED, ESME_RMSGQFUL])
@in_house(600, delay_ms=5, dispatcher={"retry_s": 0.5})
async def test_what_waited_for_its_next_try_when_it_was_cancelled_has_an_end_too(house: House, status: int):
    house.smsc.change(status_every=((3, status),))
    campaign = await house.send()
    await house.until(lambda: house.counts(campaign)["states"]["retry_wait"] >= 5)
    await house.do(c.CancelCampaign(campaign=campaign))
    await house.until(lambda: house.dispatcher.book.open_parts == 0)
    await house.until(lambda: house.counts(campaign)["states"]["retry_wait"] == 0)
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == 0)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] + counts["states"]["failed"] == counts["sent"]


@in_house(1_000, delay_ms=5)
async def test_two_campaigns_at_once_share_the_binds_and_each_adds_up(house: House):
    first = await house.send("News for {name}")
    second = await house.send("Another offer, {name}", purpose="service")
    await house.settled(first)
    await house.settled(second)
    lines = house.lines()
    assert len(lines) == 2_000
    for campaign in (first, second):
        assert house.counts(campaign)["states"]["delivered"] == 1_000
    half = [line.octets_hash for line in lines[:1_000]]
    assert len(set(half)) == 1_000, "neither waits for the other's end"


@in_house(2_000, delay_ms=5, dispatcher={"claim_ahead_max": 64})
async def test_a_member_erased_or_suppressed_before_its_turn_gets_nothing(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 100)
    await house.do(c.EraseMember(member_no=1_990))
    await house.do(c.AddSuppression(numbers=[f"+{house.numbers[1_991]}"]))
    await house.settled(campaign)
    counts = house.counts(campaign)
    assert counts["skipped"] == {"erased": 1, "suppressed": 1}
    assert not house.lines(house.numbers[1_990]) and not house.lines(house.numbers[1_991])
    assert counts["states"]["delivered"] == 1_998


@in_house(2_000, delay_ms=5, endpoint={"window": 10})
async def test_a_number_suppressed_after_it_was_claimed_gets_nothing(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 20)
    victims = [number for number in house.numbers if not house.lines(number)][40:400:20]
    await house.do(c.AddSuppression(numbers=[f"+{number}" for number in victims]))
    await house.settled(campaign)
    counts = house.counts(campaign)
    unsent = [number for number in victims if not house.lines(number)]
    assert counts["skipped"] == {"suppressed": len(unsent)}
    assert len(unsent) >= len(victims) - 2


@in_house(1_500, delay_ms=5, endpoint={"window": 10})
async def test_the_operators_suppression_holds_in_mid_send_for_every_tenant(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 20)
    victim = house.numbers[-1]
    await house.do(c.AddSuppression(numbers=[f"+{victim}"]), tenant=0)
    await house.settled(campaign)
    assert house.judge(campaign)["skipped"] == {"suppressed": 1}
    assert not house.lines(victim)
