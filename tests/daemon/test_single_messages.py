"""POST /v1/messages past its commit: claimed in the lane of its purpose, sent once, receipted; kept over a restart."""

from __future__ import annotations

import pytest
import trio

from dispatcher.apps.messages_shown import get_message
from dispatcher.control import commands as c
from dispatcher.errors import CommandRefused
from dispatcher.store.verify import find_problems
from tests.fakes.house import FIRST_NUMBER, SENDER, House, in_house

STRANGER = 4_917_600_000_000


async def sent(house: House, *messages: dict) -> list[dict]:
    asked = [{"to": f"+{STRANGER + i}", "text": "Your code is 4711"} | message for i, message in enumerate(messages)]
    return (await house.do(c.SendMessages(messages=asked)))["results"]


def shown(house: House, result: dict) -> dict:
    assert house.store is not None
    with house.store.snapshot() as view:
        found = get_message(view, 1, result["id"], house.dispatcher.clock.epoch_ms())
    assert found is not None
    return found


@in_house(3)
async def test_each_is_sent_once_and_has_its_receipt(house: House):
    purposes = ("otp", "transactional", "service", "care", "marketing")
    results = await sent(house, *({"purpose": purpose} for purpose in purposes), {"text": "long " * 60, "sender": "ME"})
    await house.until(lambda: all(shown(house, result)["state"] == "delivered" for result in results))
    lines = house.lines()
    assert len(lines) == 5 + 2 and all(line.source == "ME" for line in lines if line.destination == str(STRANGER + 5))
    for i, result in enumerate(results):
        row = shown(house, result)
        assert row["to"] == f"+{STRANGER + i}" and row["message_id"] and row["why"] is None
        assert row["parts"] == result["parts"] == len(house.lines(STRANGER + i))


@in_house(3)
async def test_the_first_of_a_store_lead_to_their_records_after_others_too(house: House):
    """The log is empty when the first request comes: its batch begins at 0, for good."""
    results = []
    for to in range(3):
        (result,) = await sent(house, {"purpose": "service", "to": f"+{STRANGER + to}"})
        await house.until(lambda result=result: shown(house, result)["state"] == "delivered")
        results.append(result)
    assert len({shown(house, result)["message_id"] for result in results}) == 3
    with house.store.snapshot() as view:
        assert list(find_problems(view)) == []


@in_house(3)
async def test_a_cancelled_one_never_leaves_and_one_that_left_is_not_cancelled(house: House):
    house.dispatcher.committer.feeding = False
    kept, gone = await sent(house, {}, {})
    assert (await house.do(c.CancelMessage(message=gone["id"])))["state"] == "cancelled"
    house.dispatcher.committer.feeding = True
    house.dispatcher.works.wake()
    await house.until(lambda: shown(house, kept)["state"] == "delivered")
    assert len(house.lines()) == 1 and shown(house, gone)["state"] == "cancelled"
    for each in (kept, gone):
        with pytest.raises(CommandRefused, match="state_conflict"):
            await house.do(c.CancelMessage(message=each["id"]))


@in_house(3)
async def test_what_was_accepted_and_not_claimed_is_sent_by_the_next_process(house: House):
    house.dispatcher.committer.feeding = False
    kept, gone, _ = await sent(house, {}, {}, {"purpose": "otp", "validity_s": 1})
    await house.do(c.CancelMessage(message=gone["id"]))
    await house.stop()
    await house.until(lambda: house.store is not None)
    await house.start()
    await house.until(lambda: shown(house, kept)["state"] == "delivered")
    await house.restart()
    assert len(house.lines(STRANGER)) == 1 and house.lines(STRANGER + 1) == []
    assert len(house.lines(STRANGER + 2)) <= 1


@in_house(3)
async def test_who_said_stop_gets_codes_and_no_more_advertising(house: House):
    house.dispatcher.committer.feeding = False
    (before,) = await sent(house, {"purpose": "marketing", "to": f"+{FIRST_NUMBER}"})
    house.smsc.inject_mo(str(FIRST_NUMBER), SENDER, "STOP")
    await house.until(lambda: bool(house.inbox()))
    after, code = await sent(
        house, {"purpose": "marketing", "to": f"+{FIRST_NUMBER}"}, {"purpose": "otp", "to": f"+{FIRST_NUMBER}"}
    )
    assert (before["decision"], after["decision"], code["decision"]) == ("sent", "opted_out", "sent")
    house.dispatcher.committer.feeding = True
    house.dispatcher.works.wake()
    await house.until(lambda: shown(house, code)["state"] == "delivered")
    await house.until(lambda: shown(house, before)["decision"] == "opted_out")
    assert {shown(house, each)["state"] for each in (before, after)} == {"skipped"}
    assert len(house.lines(FIRST_NUMBER)) == 2  # the code and the confirmation


@in_house(1_500, started=False)
async def test_a_code_passes_what_is_claimed_of_a_broadcast(house: House):
    house.endpoint(rate=300, window=100)
    await house.start()
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 150)
    assert house.dispatcher.book.queued(0) > 30  # of the broadcast, claimed and waiting for its place in the pace
    (code,) = await sent(house, {"purpose": "otp"})
    accepted = house.smsc.summary()["accepted"]
    await house.until(lambda: bool(house.lines(STRANGER)))
    place = [line.destination for line in house.lines()].index(str(STRANGER))
    assert place - accepted <= 30, "a tenth of a second of the pace"
    await house.do(c.CancelCampaign(campaign=campaign))
    assert code["decision"] == "sent"


@in_house(3)
async def test_commits_made_in_a_hurry_for_codes_stop_no_campaign(house: House):
    async def flood() -> None:
        while True:
            house.dispatcher.works.hurry()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        await house.settled(await house.send())
        nursery.cancel_scope.cancel()
    assert len(house.lines()) == 3


@in_house(3)
async def test_a_full_queue_is_waited_for(house: House):
    house.smsc.change(status_every=((2, 0x14),))
    results = await sent(house, *({"purpose": "service"} for _ in range(4)))
    await house.until(lambda: all(shown(house, result)["state"] == "delivered" for result in results))
    assert len(house.lines()) == 4
