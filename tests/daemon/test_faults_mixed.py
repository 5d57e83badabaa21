"""Answers out of order, receipts of every unusual kind at once, storms and floods (PITFALLS F3, F6, F7, F9, F13 to F15)."""

from __future__ import annotations

import os
import time

import pytest

from dispatcher.cli.demo_judge import Line as LogLine
from dispatcher.daemon.health import anon_mb
from dispatcher.smpp.consts import BIND_STOPS
from dispatcher.smpp.pump import Kind, action_of
from tests.fakes.house import LONG_TEXT, SENDER, House, in_house
from tests.smpp.line import Line, response

LONG = bool(os.environ.get("VOLLEY_LONG"))
MEMBERS = 200_000 if LONG else 2_000
STORM, BESIDE, STORM_RATE = (1_000_000, 200_000, 50_000) if LONG else (10_000, 2_500, 5_000)
FLOOD_RATE = 500
ODD = {
    "receipt_early_every": 10,
    "receipt_twice_every": 10,
    "receipt_pending_every": 10,
    "receipt_unknown_every": 10,
    "receipt_other_bind": 10.0,
    "ids": "hex",
    "receipt_ids": "padded",
}
STATUSES = [*range(1, 0x121), *range(0x400, 0x500), 1 << 31, (1 << 32) - 1]


@pytest.mark.parametrize("text", ["Hello {name}", LONG_TEXT], ids=["one part", "three parts"])
@in_house(MEMBERS // 2, shuffle_answers=100, delay_ms=3, endpoint={"window": 100})
async def test_answers_in_any_order_go_to_their_own_messages(house: House, text: str):
    campaign = await house.send_all(text)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] == MEMBERS // 2 and not counts["states"]["uncertain"]


@in_house(MEMBERS, answer_twice_every=100, receipt_delay_ms=5, endpoint={"receipt_ids": "hex_decimal"}, **ODD)
async def test_receipts_of_every_odd_kind_at_once_and_over_a_restart_find_their_messages(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["receipts_answered"] >= MEMBERS // 4)
    await house.restart()
    await house.settled(campaign)
    counts, summary = house.judge(campaign), house.smsc.summary()
    assert counts["states"]["delivered"] == counts["accepted"] == MEMBERS
    assert counts["receipts"] >= MEMBERS and not counts["settled_by_number"]
    assert summary["answers_doubled"] and summary["receipts_sent"] > MEMBERS


@in_house(MEMBERS, status_of_numbers=((5.0, 0x14),), dispatcher={"retry_s": 60.0})
async def test_numbers_whose_queue_is_full_do_not_slow_the_others(house: House):
    began = time.monotonic()
    campaign = await house.send()
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] >= MEMBERS * 9 // 10)
    assert time.monotonic() - began < 10
    counts = house.counts(campaign)
    await house.until(lambda: house.counts(campaign)["states"]["retry_wait"] >= MEMBERS // 50)
    assert counts["states"]["failed"] == 0 and house.smsc.summary()["throttled"] == 0


@in_house(MEMBERS, dispatcher={"retry_s": 0.05}, endpoint={"rate": 4_000, "adapt_rate": LONG})
async def test_a_limit_that_goes_down_and_up_again_loses_and_doubles_nothing(house: House):
    house.smsc.change(tps=500)
    campaign = await house.send()
    for tps in (500, 50, 2_000):
        before = house.smsc.summary()["accepted"]
        house.smsc.change(tps=tps)
        await house.until(lambda before=before: house.smsc.summary()["accepted"] >= before + 60, within_s=30)
    house.smsc.change(tps=0)
    await house.until(lambda: house.state(campaign) == "done", within_s=60)
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == MEMBERS


@pytest.mark.parametrize("status", sorted(BIND_STOPS))
@in_house(1, refuse_binds=-1, started=False)
async def test_a_bind_that_is_refused_for_good_is_not_tried_over_and_over(house: House, status: int):
    house.smsc.change(refuse_status=status)
    await house.start()
    await house.until(lambda: house.smsc.summary()["binds_refused"] >= 1)
    began = time.monotonic()
    await house.until(lambda: time.monotonic() - began > 0.5)
    assert house.smsc.summary()["binds_refused"] <= 2  # two binds, a try each


def test_every_status_does_to_its_message_what_the_table_says():
    for status in STATUSES:
        with Line(window=4) as line:
            (submit,) = line.send(0)
            line.give(response(submit.sequence, status))
            line.commit()
            made = [record[0] for record in line.log if record[0] != "claim"]
            again = line.book.take_returned()
            action = action_of(status)
            fails = action.name in ("FAIL", "HOLD")
            assert len(made) == 1 and line.book.open_parts == 0, hex(status)
            assert made[0] == (Kind.REFUSED if fails else Kind.RETRY), (hex(status), action, made)
            assert len(again) == (not fails), hex(status)
            assert line.pump.broken == (action.name == "CLOSE"), hex(status)


def per_second(lines: list[LogLine]) -> float:
    at_ms = [line.at_ms for line in lines]
    return (len(at_ms) - 1) * 1e3 / max(1, at_ms[-1] - at_ms[0])


@in_house(STORM + BESIDE, endpoint={"binds": 4, "window": 100, "rate": STORM_RATE})
async def test_in_a_storm_of_receipts_all_are_answered_nothing_is_resent_and_sending_keeps_its_pace(house: House):
    before_mb = anon_mb()
    house.smsc.change(hold_receipts=STORM)
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= STORM, within_s=60)  # then all of them come at once
    await house.settled(campaign)
    counts, summary = house.judge(campaign), house.smsc.summary()
    assert counts["states"]["delivered"] == STORM + BESIDE
    assert counts["retries"] == counts["resent"] == summary["came_again"] == 0
    calm, storm = house.lines()[STORM // 2 : STORM], house.lines()[STORM:]
    assert per_second(storm) >= 0.7 * per_second(calm)
    assert anon_mb() - before_mb < 300, "of the simulator, which is in this process, too"


@pytest.mark.parametrize("sources", [1, 1_000_000], ids=["one phone", "a million phones"])
@in_house(MEMBERS // 2, endpoint={"rate": FLOOD_RATE})
async def test_in_a_flood_from_phones_a_broadcast_keeps_half_its_rate_and_more(house: House, sources: int):
    flood = 200_000.0 if LONG else 6_000.0
    house.smsc.change(mo_rate=flood, mo_sources=sources, mo_to=SENDER, mo_texts=("hello there",))

    async def floods() -> bool:
        return int((await house.status())["faults"]["inbound_refused"]) >= 1_000

    await house.until(floods)
    campaign = await house.send()
    await house.until(lambda: house.state(campaign) == "done", within_s=60)
    assert per_second(house.lines()) >= 0.5 * FLOOD_RATE
    house.smsc.change(mo_rate=0.0)
    summary = house.smsc.summary()
    assert summary["mo_sent"] >= 2_000 and summary["unexpected_answers"] == 0
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == MEMBERS // 2
    kept = len(house.inbox())
    await house.until(lambda: house.smsc.summary()["mo_answered"] >= kept)  # and nothing that was answered 0x64
