"""Campaigns that a running dispatcher starts by the clock, and a stop of everything in mid-send."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from dispatcher.campaigns.campaign import load
from dispatcher.campaigns.progress import progress
from dispatcher.control import commands as c
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import parse_public_id
from tests.fakes.house import TEXT, House, in_house


def in_s(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


async def drafted(house: House, **parts: Any) -> int:
    reply = await house.do(c.CreateCampaign(title="Timed", text=TEXT, **parts))
    campaign = parse_public_id("cmp", reply["id"])
    assert campaign is not None
    return campaign


async def begun(house: House, campaign: int) -> dict[str, Any]:
    preview = await house.do(c.PreviewCampaign(campaign=campaign))
    return await house.do(c.StartCampaign(campaign=campaign, token=preview["token"]))


def row_of(house: House, campaign: int) -> dict[str, Any]:
    with house.dispatcher.store.snapshot() as view:
        return load(view, 1, campaign)


@in_house(300)
async def test_what_is_scheduled_starts_by_itself_and_everybody_gets_it_once(house: House):
    campaign = await drafted(house, schedule={"at": in_s(0.6)})
    reply = await begun(house, campaign)
    assert (reply["state"], house.lines()) == ("scheduled", [])
    await house.until(lambda: row_of(house, campaign)["state"] != "scheduled")
    assert row_of(house, campaign)["started_ms"] >= row_of(house, campaign)["due_ms"]
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 300


@in_house(300)
async def test_what_came_due_while_the_dispatcher_was_down_starts_after_the_restart(house: House):
    campaign = await drafted(house, schedule={"at": in_s(0.5)})
    await begun(house, campaign)
    await house.stop()
    await trio.sleep(0.6)
    await house.start()
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 300


@in_house(300)
async def test_a_start_that_is_cancelled_before_its_time_never_comes(house: House):
    campaign = await drafted(house, schedule={"at": in_s(0.4)})
    await begun(house, campaign)
    await house.do(c.CancelCampaign(campaign=campaign))
    await trio.sleep(0.6)
    assert (row_of(house, campaign)["state"], house.lines()) == ("cancelled", [])


@in_house(3_000, delay_ms=5)
async def test_a_stop_of_everything_ends_every_submit_within_a_second_and_a_release_goes_on(house: House):
    campaigns = [await house.send(), await house.send()]
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    began = time.monotonic()
    reply = await house.do(c.StopAll())
    assert (reply["paused"], time.monotonic() - began < 1.0) == (2, True)
    stopped_ms = time.time() * 1000
    await trio.sleep(0.3)
    assert not [line for line in house.lines() if line.at_ms > stopped_ms + 200]
    draft = await drafted(house)
    with pytest.raises(CommandRefused) as caught:
        await begun(house, draft)
    assert caught.value.code == "stopped"
    assert (await house.do(c.ReleaseAll(resume=True)))["resumed"] == 2
    for campaign in campaigns:
        await house.settled(campaign)
        assert house.counts(campaign)["states"]["delivered"] == 3_000
    assert set(Counter(line.destination for line in house.lines()).values()) == {2}, "once from each campaign"


@in_house(50)
async def test_a_held_campaign_sends_nothing_after_a_restart(house: House):
    campaign = await drafted(house, expr="points < 10", schedule={"at": in_s(0.5), "count_change_percent": 0})
    await begun(house, campaign)
    await house.do(c.UpsertMember(msisdn="+4915199999999", values={"name": "New"}))
    await house.until(lambda: row_of(house, campaign)["state"] == "held")
    await house.restart()
    await trio.sleep(0.2)
    assert house.lines() == []
    await house.do(c.ResumeCampaign(campaign=campaign))
    await house.settled(campaign)
    assert house.counts(campaign)["sent"] == row_of(house, campaign)["audience"] == 11


@in_house(10)
async def test_a_test_reaches_the_listed_phone_and_no_one_else(house: House):
    campaign = await drafted(house)
    await house.do(c.TestCampaign(campaign=campaign, to=["+4915100000003"]))
    await house.until(lambda: len(house.lines()) == 1)
    await trio.sleep(0.1)
    assert len(house.lines()) == 1
    assert row_of(house, campaign)["state"] == "draft"


def window(house: House, opens_s: float) -> dict[str, Any]:
    """Of the day, opening at the next full minute after opens_s; in UTC."""
    begin = datetime.fromtimestamp(time.time() + opens_s, UTC)
    return {"from": f"{begin:%H:%M}", "to": f"{begin.replace(hour=(begin.hour + 2) % 24):%H:%M}"}


@in_house(200)
async def test_outside_its_window_a_running_campaign_sends_nothing_and_says_until_when(house: House):
    campaign = await drafted(house, schedule={"window": window(house, 3_600), "zone": "UTC"})
    assert (await begun(house, campaign))["state"] == "running"
    await trio.sleep(0.4)
    assert house.lines() == []
    with house.dispatcher.store.snapshot() as view:
        shown = progress(view, 1, campaign, None, int(time.time() * 1000))
    assert (shown["state"], shown["unsent"], shown["waiting_until"] is not None) == ("running", 200, True)


@in_house(200)
async def test_inside_its_window_it_sends_at_once(house: House):
    campaign = await drafted(house, schedule={"window": window(house, -3_600), "zone": "UTC"})
    await begun(house, campaign)
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 200


@in_house(300)
async def test_what_is_spread_goes_out_over_its_time(house: House):
    campaign = await drafted(house, schedule={"spread_over_s": 3})
    await begun(house, campaign)
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 300
    seconds = Counter((line.at_ms - house.lines()[0].at_ms) // 1000 for line in house.lines())
    assert 3 <= len(seconds) <= 4
    assert max(seconds.values()) <= 200, "a third each second"
