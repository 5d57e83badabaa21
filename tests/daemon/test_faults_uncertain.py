"""What a kill leaves uncertain: whose it was is known to the next life, and a second try goes where the first one went."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import trio

from dispatcher.apps.uncertain import uncertain
from dispatcher.control import commands as c
from dispatcher.daemon.resume import NOBODY_KNOWS
from dispatcher.daemon.settler import FEW_AT_ONCE, Settler
from dispatcher.outcomes.uncertain import Uncertain
from dispatcher.records.batches import message_batch
from dispatcher.records.states import Purpose, State
from dispatcher.store import open_store
from tests.campaigns.log import UNCERTAIN, claim, log, record
from tests.fakes.channels import new_channel, new_feeder
from tests.fakes.house import LONG_TEXT
from tests.fakes.houses import Houses, in_houses

BOTH = ("a", "b")
SILENT: dict[str, Any] = {"delay_ms": 60_000, "receipts": 0}


def box(house: Houses) -> list[dict[str, Any]]:
    assert house.store is not None
    with house.store.snapshot() as view:
        return uncertain(view, 1, limit=1_000)[0]


def numbers(house: Houses, name: str) -> Counter[str]:
    return Counter(line.destination for line in house.lines_of(name))


async def killed_with_both_windows_full(house: Houses, campaign: int, parts: int = 40) -> None:
    await house.until(lambda: all(len(house.lines_of(name)) == parts for name in BOTH))
    assert house.child is not None
    house.child.kill()
    await house.child.wait()
    for smsc in house.smscs:
        smsc.change(delay_ms=0)


@in_houses(300, process=True, **SILENT)
async def test_after_a_kill_each_uncertain_message_is_listed_with_the_endpoint_that_has_it(house: Houses):
    campaign = await house.send()
    await killed_with_both_windows_full(house, campaign)
    there = {name: set(numbers(house, name)) for name in BOTH}
    await house.start()
    await house.until(lambda: house.state(campaign) == "done")
    for _ in range(2):  # and the life after that one knows it too
        rows = box(house)
        assert {(row["cause"], row["bind"]) for row in rows} == {("kill", None)} and all(row["at"] for row in rows)
        listed = {name: {row["msisdn"].lstrip("+") for row in rows if row["endpoint"] == name} for name in BOTH}
        assert listed == there
        await house.restart()
    house.judge(campaign)


@in_houses(120, process=True, dispatcher={"holding_s": 0.3}, **SILENT)
async def test_after_a_kill_a_doubted_repeat_goes_by_the_endpoint_that_may_have_had_it(house: Houses):
    campaign = await house.send(LONG_TEXT, purpose="transactional")
    await killed_with_both_windows_full(house, campaign, parts=36)  # two of 20 have room for six messages each
    before = {name: numbers(house, name) for name in BOTH}
    await house.start()
    await house.until(lambda: house.state(campaign) == "done")
    counts = house.counts(campaign)
    assert counts["resent"] and counts["states"]["accepted"] == 120, counts
    for name, other in (BOTH, BOTH[::-1]):
        assert not set(before[name]) & set(numbers(house, other)), "all parts of a message by one account"
    again = sum(sum(numbers(house, name).values()) for name in BOTH) - 3 * 120
    assert again == 72, "each part that may have arrived once more, no other one"


@in_houses(200, process=True, endpoints={name: {"rate": 100} for name in BOTH}, **SILENT)
async def test_after_a_kill_a_repeat_by_hand_goes_by_the_endpoint_that_may_have_had_it(house: Houses):
    campaign = await house.send()
    await killed_with_both_windows_full(house, campaign)
    before = {name: numbers(house, name) for name in BOTH}
    house.endpoint(rate=1)  # of the first: the campaign is being sent for as long as this takes
    await house.start()
    await house.until(lambda: len(box(house)) == 80)
    mine = [row["rank"] for row in box(house) if row["endpoint"] == "b"][:5]
    await house.do(c.DecideUncertain(decision="resend", campaign=campaign, ranks=mine))
    chosen = {str(house.numbers[rank]) for rank in mine}
    await house.until(lambda: all(numbers(house, "b")[number] == 2 for number in chosen))
    assert not chosen & set(numbers(house, "a")) and chosen <= set(before["b"])


def test_an_endpoints_doubted_repeats_of_a_second_are_no_more_than_its_windows_hold(tmp_path: Path):
    batch, many = message_batch(1, Purpose.TRANSACTIONAL), 2 * FEW_AT_ONCE
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        log(store, batch, 1_000, claim(0, [1] * many))
        log(store, batch, 1_001, *(record(UNCERTAIN, rank, state=3) for rank in range(many)))
        ends = [new_channel(0, binds=2, window=10), new_channel(1, binds=1, window=30)]
        settler = Settler(store, new_feeder(*ends), holding_s=1.0)
        for rank in range(many):
            endpoint = (0, 1, NOBODY_KNOWS, NOBODY_KNOWS)[rank % 4]
            settler.note(Uncertain(batch, endpoint, rank, 0, rank, 4915100000000 + rank), True, 0, now_ns=0)
        resent = []
        for second in range(2, 7):
            trio.run(settler.tick, 1_000 * second, second * 10**9)
            resent.append(settler.counters.resent)
    assert resent == [0, 20 + 30 + 100, 40 + 50 + 100, 50 + 50 + 100, many], resent


def test_a_receipt_whose_message_the_ledger_does_not_know_as_uncertain_yet_is_held_on(tmp_path: Path):
    batch, number = message_batch(1, Purpose.MARKETING), 4915100000000
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        log(store, batch, 1_000, claim(0, [1]))
        channel = new_channel(0)
        feeder = new_feeder(channel)
        feeder.replies.open_batch(batch, "Shop")
        settler = Settler(store, feeder, holding_s=1.0)
        settler.note(Uncertain(batch, 0, 0, 0, 0, number), True, 0, now_ns=0)
        channel.book.hold(77, number, 5_000_000, 0, State.DELIVERED)
        counters = settler.counters
        trio.run(settler.tick, 9_000_000, 0)  # what says that it is uncertain is in the log, and not folded
        assert (counters.by_number, counters.unmatched) == (0, 0)
        log(store, batch, 1_001, record(UNCERTAIN, 0, state=3))
        trio.run(settler.tick, 10_000_000, 0)
        assert (counters.by_number, counters.unmatched) == (1, 0)
