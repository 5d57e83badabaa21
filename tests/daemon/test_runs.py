"""Run numbers of the Book are let go of when a campaign has ended; receipts that come after that still find it."""

from __future__ import annotations

from dispatcher.daemon.runs import KEPT_NS
from tests.daemon.test_faults_receipts import ids, receipt
from tests.fakes.house import House, in_house


def tick(house: House, now_ns: int) -> None:
    assert house.store is not None
    with house.store.snapshot() as view:
        house.dispatcher.feeder.sweep_runs(view, now_ns)


@in_house(20)
async def test_a_campaign_that_is_final_for_an_hour_gives_its_number_back(house: House):
    campaign = await house.send_all()
    feeder, book = house.dispatcher.feeder, house.dispatcher.book
    used = book.runs_used
    await house.until(lambda: feeder.campaigns[campaign].expansion is None)
    tick(house, 1)
    assert campaign in feeder.campaigns and book.runs_used == used
    tick(house, 2 + KEPT_NS)
    assert campaign not in feeder.campaigns
    await house.until(lambda: book.runs_used == used - 1)  # by the sweep of each second


@in_house(20, receipts=0)
async def test_a_campaign_that_let_go_of_its_number_is_found_by_its_receipts_in_the_log(house: House):
    campaign = await house.send()
    await house.until(lambda: house.counts(campaign)["accepted"] == 20 and house.state(campaign) == "done")
    feeder, book = house.dispatcher.feeder, house.dispatcher.book
    house.dispatcher.settler.holding_s = 0.1
    used = book.runs_used
    await house.until(lambda: feeder.let_go(feeder.campaigns[campaign], whole=False))
    await house.until(lambda: book.runs_used == used - 1)
    assert feeder.channels[0].runs.get(campaign) is None
    other = await house.send()  # takes the number
    for number, id_ in list(ids(house).items())[:20]:
        house.smsc.inject(receipt(int(number), b"id:" + id_.encode() + b" stat:DELIVRD err:000"))
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == 20)
    assert house.counts(other)["states"]["delivered"] == 0
