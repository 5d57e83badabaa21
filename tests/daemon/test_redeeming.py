"""Codes that phones got are redeemed while the campaign is still being sent: durable before the till is told, once each."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import trio

from dispatcher.campaigns.campaign import load, save
from dispatcher.campaigns.effect import effect
from dispatcher.control import commands as c
from dispatcher.coupons.code import code_of
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.segments.engagement import evaluate
from dispatcher.segments.given import Engaged
from dispatcher.store import ledger, open_store
from dispatcher.store.verify import find_problems
from tests.fakes.house import House, in_house

KEY = bytes(range(16))
TEXT = "Hi {name}, show {coupon} at the till"
REDEEMED = 60


async def redeem(house: House, member_no: int, key: str) -> dict[str, Any]:
    return await house.do(c.RedeemCoupon(code=code_of(KEY, member_no), key=key, shop="Mitte"))


def phones(house: House) -> list[int]:
    """Who has got the message, as the simulator's log has it."""
    return [house.numbers.index(int(line.destination)) for line in house.lines()]


@in_house(900, process=True, endpoint={"rate": 400, "adapt_rate": False}, receipts=0)
async def test_what_a_till_was_told_survives_a_kill_in_mid_send_and_its_campaign_earned_it(house: House):
    await house.do(c.CreateCouponPool(title="Spring", value="5 EUR off", key=KEY, stock=REDEEMED))
    campaign = await house.send(TEXT, coupon_pool="Spring")
    answered: dict[int, dict[str, Any]] = {}
    while len(answered) < REDEEMED:
        await house.until(lambda: len(phones(house)) > len(answered))
        for member_no in phones(house)[len(answered) : REDEEMED]:
            answered[member_no] = await redeem(house, member_no, str(member_no))
    assert house.child is not None
    house.child.kill()
    await house.child.wait()
    house.child = None
    assert len(phones(house)) < 900, "it was still being sent"
    assert house.store is not None
    house.store.close()
    with open_store(house.settings.data) as store, store.snapshot() as view:
        assert view.count("redemptions") == REDEEMED
        assert [str(one) for one in find_problems(view)] == []
    house.store = None
    await house.start()
    for member_no, first in answered.items():
        assert first["campaign"] == public_id("cmp", campaign)
        assert await redeem(house, member_no, str(member_no)) == {**first, "repeated": True}
    assert await refusal(house, phones(house)[REDEEMED], "late") == "out_of_stock"
    await house.until(lambda: house.state(campaign) == "done", 30)
    assert house.store is not None
    with house.store.snapshot() as view:
        key = Engaged("redeemed", campaign)
        assert sum(map(ledger.popcount, evaluate(view, 1, [key], 1 << 46)[key].values())) == REDEEMED


@in_house(600)
async def test_tills_decide_which_arm_the_rest_gets_and_each_redemption_is_its_arms(house: House):
    await house.do(c.CreateCouponPool(title="Spring", value="5 EUR off", key=KEY))
    arms = [{"name": name, "share": 50, "text": f"{name}: {{coupon}}"} for name in "AB"]
    winner = {"by": "redeemed", "after_s": 3600, "test_percent": 20}
    campaign = await house.send(TEXT, coupon_pool="Spring", arms=arms, winner=winner, holdout={"percent": 10})
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == 108)
    groups = {row["rank"]: row["group"] for row in house.recipients(campaign)}
    tills = {"A": 2, "B": 10, "holdout": 3}
    for group, many in tills.items():
        for member_no in [no for no, of in groups.items() if of == group][:many]:
            found = await redeem(house, member_no, str(member_no))
            assert (found["campaign"], found["arm"]) == (
                (None, None) if group == "holdout" else (public_id("cmp", campaign), group)
            )

    def an_hour_ago(view: View) -> tuple[Changes, None]:
        row = load(view, 1, campaign)
        assert row is not None
        row["started_ms"] -= 3_601_000
        return save(1, campaign, row), None

    await house.dispatcher.works.do(an_hour_ago)
    assert house.life is not None
    house.life.schedule.changed()
    await house.settled(campaign)
    rest = next(no for no, of in groups.items() if of == "rest")
    assert (await redeem(house, rest, "of the rest"))["arm"] == "B", "they were sent the winner's text"
    assert house.store is not None
    with house.store.snapshot() as view:
        row = load(view, 1, campaign)
        assert row is not None and (row["won"]["arm"], row["won"]["by"]) == (1, "redeemed")
        told = effect(view, 1, campaign, row, time.time_ns() // 1_000_000)
        assert [str(one) for one in find_problems(view)] == []
    assert {one["group"]: one["rates"].get("redeemed", {}).get("count") for one in told["groups"]} == {
        "holdout": None, "A": 2, "B": 10, "rest": 1,
    }  # fmt: skip


@in_house(50, store={"sync": True})
async def test_of_many_tills_with_the_same_code_one_is_told_yes(house: House):
    await house.do(c.CreateCouponPool(title="Spring", value="5 EUR off", key=KEY))
    told: Counter[str] = Counter()

    async def till(number: int) -> None:
        told[await refusal(house, 7, str(number))] += 1

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(till, number)
    assert told == {"": 1, "coupon_redeemed": 19}


async def refusal(house: House, member_no: int, key: str) -> str:
    try:
        await redeem(house, member_no, key)
    except CommandRefused as exc:
        return exc.code
    return ""
