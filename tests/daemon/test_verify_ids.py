"""`volley verify` makes the index of message_ids anew from the log: each live id leads to its own message."""

from __future__ import annotations

from dispatcher.daemon.verify_ids import live_ids_are_found_once
from dispatcher.store.verify import verify
from tests.fakes.house import LONG_TEXT, House, in_house


def wrong(house: House) -> list[str]:
    with house.store.snapshot() as view:
        return verify(view, more=[live_ids_are_found_once])["problems"]


@in_house(300, hold_receipts=100_000, hold_idle_s=0)
async def test_ids_that_await_their_receipt_are_found_once_also_those_of_parts_and_over_a_restart(house: House):
    campaign = await house.send(LONG_TEXT)
    await house.until(lambda: house.state(campaign) == "done")
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == 300)
    assert wrong(house) == []
    await house.restart()
    assert wrong(house) == []
    await house.until(lambda: house.smsc.release_receipts() or house.counts(campaign)["states"]["delivered"] == 300)
    assert wrong(house) == []


@in_house(200, garbage_every=10, garbage=("id-without-nul",), hold_receipts=100_000, hold_idle_s=0)
async def test_an_id_that_the_smsc_gave_to_several_messages_is_a_problem_of_each_but_the_last(house: House):
    campaign = await house.send()
    await house.until(lambda: house.state(campaign) == "done")
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == 200)
    problems = wrong(house)
    assert len(problems) == house.smsc.summary()["garbage_sent"] - 1 > 0
    assert all("the same message_id" in problem and f"campaign {campaign}" in problem for problem in problems)
