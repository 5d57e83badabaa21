"""Caps, quiet hours, budgets and lists in a running dispatcher; the simulator's log says who got what."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio

from dispatcher.campaigns.money import account, entries
from dispatcher.campaigns.usage import month_of, usage_json
from dispatcher.control import commands as c
from dispatcher.daemon.housekeeping import settle_usage
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import parse_public_id
from tests.fakes.house import FIRST_NUMBER, House, in_house

MEMBERS = 400
DAY_CAP = [{"group": "marketing", "max": 1, "within_s": 86_400}]


async def begun(house: House, **parts: Any) -> int:
    reply = await house.do(c.CreateCampaign(**{"title": "Sale", "text": "Hello", **parts}))
    campaign = parse_public_id("cmp", reply["id"])
    assert campaign is not None
    preview = await house.do(c.PreviewCampaign(campaign=campaign))
    await house.do(c.StartCampaign(campaign=campaign, token=preview["token"]))
    return campaign


def got(house: House) -> Counter[int]:
    """Messages by member."""
    return Counter(int(line.destination) - FIRST_NUMBER for line in house.lines())


def used(house: House) -> dict[str, Any]:
    assert house.store is not None
    with house.store.snapshot() as view:
        return usage_json(view, 1, month_of(house.dispatcher.clock.epoch_ms(), "UTC"))


@in_house(MEMBERS)
async def test_two_campaigns_at_once_and_a_restart_give_nobody_more_than_the_cap(house: House):
    await house.do(c.EditTenant(changes={"caps": DAY_CAP}))
    first, second = await begun(house, rate=200), await begun(house, rate=200)
    await house.until(lambda: len(house.lines()) > MEMBERS // 4)
    await house.restart()
    await house.settled(first)
    await house.settled(second)
    assert set(got(house).values()) == {1} and len(got(house)) == MEMBERS, "one each, and nobody without"
    sums = [house.counts(campaign) for campaign in (first, second)]
    assert sum(one["sent"] for one in sums) == MEMBERS
    assert sum(one["skipped"].get("frequency_cap", 0) for one in sums) == MEMBERS
    third = parse_public_id("cmp", (await house.do(c.CreateCampaign(title="Again", text="Hello")))["id"])
    seen = await house.do(c.PreviewCampaign(campaign=third))
    assert (seen["will_send"], seen["skipped"]) == (0, {"frequency_cap": MEMBERS})


def quiet_profile(folder: Path) -> None:
    """A market that is closed from two hours before now to two hours after it, in Berlin."""
    now = datetime.now(ZoneInfo("Europe/Berlin"))
    opens = now + timedelta(hours=12)
    hours = f'days = ["{["mo", "tu", "we", "th", "fr", "sa", "su"][opens.weekday()]}"]\nfrom = "{opens:%H}:00"\nto = "{opens:%H}:59"\n'
    text = f'zones = ["Europe/Berlin"]\n[quiet]\npurposes = ["marketing"]\n[[quiet.hours]]\n{hours}'
    (folder / "night.toml").write_text(text)


@in_house(MEMBERS, started=False)
async def test_who_waits_for_the_morning_is_not_sent_to_and_goes_when_it_is_over(house: House):
    folder = house.settings.data
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOLLEY_PROFILES", str(folder))
        quiet_profile(folder)
        await house.start()
        await house.do(c.EditTenant(changes={"market_profile": "night"}))
        campaign = await begun(house)
        await trio.sleep(0.5)
        assert (house.lines(), house.state(campaign)) == ([], "running")
        await house.restart()
        await trio.sleep(0.3)
        assert house.lines() == [], "a restart wakes nobody"
        await house.do(c.EditTenant(changes={"market_profile": "none"}))
        await house.settled(campaign)
        assert house.counts(campaign)["sent"] == len(house.lines()) == MEMBERS


@in_house(MEMBERS)
async def test_credit_is_settled_by_what_the_simulator_took(house: House):
    await house.do(c.SetPrices(prices={"": 10}), tenant=0)
    await house.do(c.EditTenant(changes={"prepaid": True}))
    with pytest.raises(CommandRefused) as caught:
        await begun(house)
    assert caught.value.code == "insufficient_credit"
    await house.do(c.TopUp(micros=5_000))
    campaign = await begun(house)
    await house.do(c.ImportSuppressions(numbers=[f"+{FIRST_NUMBER + MEMBERS - 1}"]))
    await house.settled(campaign)
    await house.until(lambda: house.state(campaign) == "done")
    await settle_usage(house.dispatcher, house.dispatcher.clock.epoch_ms())
    sent = len(house.lines())
    now = used(house)
    assert (now["messages"], now["parts"], now["micros"], now["settled"]) == (sent, sent, 10 * sent, True)
    assert house.store is not None
    with house.store.snapshot() as view:
        assert (account(view, 1).balance, account(view, 1).reserved) == (5_000 - 10 * sent, 0)
        assert [row["kind"] for _, row in entries(view, 1)] == ["settle", "reserve", "top_up"]


@in_house(MEMBERS)
async def test_a_list_for_a_signature_takes_effect_on_what_is_unsent(house: House):
    await house.do(c.EditTenant(changes={"signature": "Corner"}))
    campaign = await begun(house, rate=100)
    await house.until(lambda: len(house.lines()) >= 20)
    last = [FIRST_NUMBER + MEMBERS - 1 - i for i in range(50)]
    await house.do(c.AddSuppression(numbers=[f"+{number}" for number in last], signature="Corner"))
    await house.settled(campaign)
    assert not {number - FIRST_NUMBER for number in last} & got(house).keys()
    assert house.counts(campaign)["skipped"] == {"suppressed": 50}
