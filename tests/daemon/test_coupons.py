"""Coupon codes on the wire: what the simulator took carries exactly the code of its member, once, whatever happened."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from dispatcher.campaigns.campaign import load
from dispatcher.control import commands as c
from dispatcher.coupons.code import code_of
from dispatcher.records.keys import parse_public_id
from dispatcher.smpp.consts import ESME_RTHROTTLED
from dispatcher.text.coding import Coding
from tests.daemon.test_texts import submits
from tests.fakes.house import House, in_house

KEY = bytes(range(16))
SHORT = "Hi {name}, show {coupon} at the till"
LONG = "Hi {name}, " + "this is the long story of a shop that could not stop talking about itself. " * 4 + "{coupon}"
SILENT: dict[str, Any] = {"delay_ms": 60_000, "receipts": 0}

Submits = dict[int, list[tuple[int, int, int]]]


async def sent(house: House, text: str, **campaign: Any) -> int:
    await house.do(c.CreateCouponPool(title="Spring", value="5 EUR off", key=KEY))
    return await house.send(text, coupon_pool="Spring", **campaign)


def meant(house: House, campaign: int, text: str) -> Submits:
    """What each number must get of the campaign, part by part."""
    assert house.store is not None
    with house.store.snapshot() as view:
        row = load(view, 1, campaign)
    assert row is not None
    found = {}
    for member_no, number in enumerate(house.numbers):
        mine = text.replace("{name}", f"Member {number % 1000}").replace("{coupon}", code_of(KEY, member_no))
        found[number] = submits(mine, Coding(), member_no + row["ref_seed"] * 0x101)
    return found


def heard(house: House) -> Submits:
    found = defaultdict(list)
    for line in house.lines():
        found[int(line.destination)].append((line.part, line.total, line.octets_hash))
    return {number: sorted(lines) for number, lines in found.items()}


@pytest.mark.parametrize("text", [SHORT, LONG])
@in_house(120, endpoint={"adapt_rate": False})
async def test_every_text_has_its_members_code_however_often_the_smsc_refused_it(house: House, text: str):
    house.smsc.change(status_every=((7, ESME_RTHROTTLED),))
    campaign = await sent(house, text, max_parts=5)
    await house.settled(campaign)
    assert heard(house) == meant(house, campaign, text)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] == 120 and counts["retries"] >= 120 // 7


@in_house(300, process=True, **SILENT)
async def test_after_a_kill_the_rest_gets_its_codes_and_nobody_two(house: House):
    campaign = await sent(house, SHORT)
    await killed_in_mid_send(house)
    await house.start()
    await house.until(lambda: house.state(campaign) == "done")
    assert heard(house) == meant(house, campaign, SHORT)
    house.judge(campaign)


@in_house(90, process=True, dispatcher={"holding_s": 0.3}, **SILENT)
async def test_what_is_sent_again_after_a_kill_is_the_very_same_text(house: House):
    campaign = await sent(house, SHORT, purpose="transactional")
    await killed_in_mid_send(house)
    first = heard(house)
    await house.start()
    await house.until(lambda: house.state(campaign) == "done")
    wanted = meant(house, campaign, SHORT)
    assert heard(house) == {number: lines * (1 + (number in first)) for number, lines in wanted.items()}
    house.judge(campaign, resends=True)


@in_house(60, states=(("UNDELIV", 1, "00B"),))
async def test_a_resend_to_whom_it_did_not_reach_has_the_same_codes(house: House):
    campaign = await sent(house, SHORT)
    await house.until(lambda: house.counts(campaign)["states"]["failed"] == 60)
    await house.until(lambda: house.state(campaign) == "done")
    made = await house.do(c.ResendCampaign(campaign=campaign))
    again = parse_public_id("cmp", made["id"])
    preview = await house.do(c.PreviewCampaign(campaign=again))
    await house.do(c.StartCampaign(campaign=again, token=preview["token"]))
    await house.until(lambda: len(house.lines()) == 120)
    wanted = meant(house, campaign, SHORT)
    assert heard(house) == {number: lines * 2 for number, lines in wanted.items()}


async def killed_in_mid_send(house: House) -> None:
    """With both binds' windows full of what the simulator took and never answered."""
    await house.until(lambda: len(house.lines()) == 40)
    assert house.child is not None
    house.child.kill()
    await house.child.wait()
    house.smsc.change(delay_ms=0)
