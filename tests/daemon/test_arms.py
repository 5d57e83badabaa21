"""Arms, holdout and a winner in a running dispatcher, and a person's word on the uncertain; judged by the simulator."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any

import pytest
import trio

from dispatcher.apps.archive import recipients_anywhere
from dispatcher.apps.uncertain import uncertain
from dispatcher.campaigns.arms import arms_of
from dispatcher.campaigns.campaign import load, save
from dispatcher.control import commands as c
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import parse_public_id
from dispatcher.store import audit
from dispatcher.store.layout import U64
from dispatcher.store.verify import find_problems
from dispatcher.text.coding import encode
from tests.fakes.house import FIRST_NUMBER, House, in_house

ARMS = [{"name": "A", "share": 50, "text": "Alpha"}, {"name": "B", "share": 50, "text": "Beta"}]
WINNER = {"by": "delivered", "after_s": 3600, "test_percent": 20}
MEMBERS = 600
TEST = [60, 54, 54, 432]  # held out 10 %, 20 % of the rest in two arms, and the rest


async def begun(house: House, **parts: Any) -> int:
    reply = await house.do(c.CreateCampaign(**{"title": "Test", "text": "Alpha", "arms": ARMS, **parts}))
    campaign = parse_public_id("cmp", reply["id"])
    assert campaign is not None
    preview = await house.do(c.PreviewCampaign(campaign=campaign))
    await house.do(c.StartCampaign(campaign=campaign, token=preview["token"]))
    return campaign


def row_of(house: House, campaign: int) -> dict[str, Any]:
    assert house.store is not None
    with house.store.snapshot() as view:
        row = load(view, 1, campaign)
    assert row is not None
    return row


def said_to(house: House, campaign: int) -> Counter[tuple[str, str]]:
    """(group, text) of every message that the simulator took."""
    texts = {zlib.crc32(encode(text)[1]): text for text in ("Alpha", "Beta")}
    assert house.store is not None
    with house.store.snapshot() as view:
        arms = arms_of(load(view, 1, campaign) or {}, campaign)
        assert arms is not None
        return Counter(
            (arms.word(arms.group_of(view, int(line.destination) - FIRST_NUMBER)), texts[line.octets_hash])
            for line in house.lines()
        )


@in_house(MEMBERS)
async def test_each_arm_gets_its_text_and_the_holdout_none(house: House):
    campaign = await begun(house, holdout={"percent": 10})
    await house.settled(campaign)
    assert said_to(house, campaign) == {("A", "Alpha"): 270, ("B", "Beta"): 270}
    counts = house.counts(campaign)
    assert (counts["sent"], counts["skipped"]) == (540, {"holdout": 60})


@in_house(MEMBERS)
async def test_the_rest_waits_for_a_persons_word_over_a_restart_and_gets_the_winners_text(house: House):
    campaign = await begun(house, holdout={"percent": 10}, winner=WINNER)
    await house.until(lambda: len(house.lines()) == TEST[1] + TEST[2])
    await trio.sleep(0.3)
    await house.restart()
    await trio.sleep(0.3)
    assert (house.state(campaign), len(house.lines())) == ("running", 108), "nobody of the rest is sent to"
    await house.do(c.ChooseWinner(campaign=campaign, arm="B"))
    await house.settled(campaign)
    assert said_to(house, campaign) == {("A", "Alpha"): 54, ("B", "Beta"): 54, ("rest", "Beta"): 432}


@in_house(MEMBERS)
async def test_the_rule_decides_when_its_time_has_come(house: House):
    campaign = await begun(house, holdout={"percent": 10}, winner=WINNER)
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == TEST[1] + TEST[2])

    def an_hour_ago(view: View) -> tuple[Changes, None]:
        row = load(view, 1, campaign)
        assert row is not None
        row["started_ms"] -= 3_601_000
        return save(1, campaign, row), None

    await house.dispatcher.works.do(an_hour_ago)
    house.life.schedule.changed()
    await house.settled(campaign)
    won = row_of(house, campaign)["won"]
    assert (won["arm"], won["actor"], won["clear"]) == (0, "schedule", False), "of two alike the earlier"
    assert said_to(house, campaign) == {("A", "Alpha"): 54, ("B", "Beta"): 54, ("rest", "Alpha"): 432}
    with house.dispatcher.store.snapshot() as view:
        told = [row["command"] for _, row in audit.newest_first(view, command="campaign.")[0]]
    assert told[:2] == ["campaign.done", "campaign.won"]


@in_house(41, endpoint={"response_timeout_s": 0.3}, mute_every=20)
async def test_what_is_uncertain_is_listed_with_its_bind_and_settled_or_sent_again_by_hand(house: House):
    campaign = await begun(house)
    await house.until(lambda: house.counts(campaign)["states"]["uncertain"] == 2)
    rows = box(house)
    assert [(row["cause"], row["endpoint"], row["bind"] is not None) for row in rows] == [("timeout", "smsc", True)] * 2
    await house.until(lambda: house.state(campaign) == "done")
    first, second = (row["rank"] for row in rows)
    with pytest.raises(CommandRefused, match="the campaign is done"):
        await house.do(c.DecideUncertain(decision="resend", campaign=campaign, ranks=[first]))
    await house.do(c.DecideUncertain(decision="failed", campaign=campaign, ranks=[first]))
    await house.do(c.DecideUncertain(decision="sent", campaign=campaign, ranks=[second]))
    await house.until(lambda: box(house) == [])
    states = house.counts(campaign)["states"]
    assert (states["failed"], states["no_receipt"], states["delivered"]) == (1, 1, 39)
    await house.restart()
    assert house.counts(campaign)["states"] == states
    assert house.judge(campaign)["sent"] == 41


@in_house(200, endpoint={"response_timeout_s": 0.2, "rate": 100}, mute_every=20)
async def test_a_resend_by_hand_leaves_while_its_campaign_is_being_sent(house: House):
    campaign = await begun(house)
    await house.until(lambda: bool(box(house)))
    row = box(house)[0]
    number = row["msisdn"].removeprefix("+")
    assert house.lines(int(number)) == []
    await house.do(c.DecideUncertain(decision="resend", campaign=campaign, ranks=[row["rank"]]))
    await house.until(lambda: len(house.lines(int(number))) == 1)
    await house.until(lambda: row["rank"] not in [one["rank"] for one in box(house)])
    with pytest.raises(CommandRefused, match="is not uncertain"):
        await house.do(c.DecideUncertain(decision="resend", campaign=campaign, ranks=[row["rank"]]))


def box(house: House) -> list[dict[str, Any]]:
    assert house.store is not None
    with house.store.snapshot() as view:
        return uncertain(view, 1)[0]


@in_house(500)
async def test_a_campaign_that_is_over_is_archived_beside_the_sending_and_answers_as_before(house: House):
    campaign = await begun(house)
    await house.settled(campaign)
    before = recipients_of(house, campaign)
    with pytest.raises(CommandRefused, match="is not over"):
        await house.do(c.ArchiveCampaign(campaign=await begun(house, title="Other")))
    await house.do(c.ArchiveCampaign(campaign=campaign))
    await house.until(lambda: bool((row_of(house, campaign)["archive"] or {}).get("at_ms")))
    await house.until(lambda: len(list(ledger_rows(house, campaign))) == 5)
    assert recipients_of(house, campaign) == before
    await house.restart()
    assert recipients_of(house, campaign) == before
    assert house.store is not None
    with house.store.snapshot() as view:
        assert list(find_problems(view)) == []


def recipients_of(house: House, campaign: int) -> list[dict[str, Any]]:
    assert house.store is not None
    with house.store.snapshot() as view:
        return recipients_anywhere(view, 1, campaign, folder=house.settings.data, limit=1_000)


def ledger_rows(house: House, campaign: int) -> list[bytes]:
    assert house.store is not None
    with house.store.snapshot() as view:
        return [key for key, _ in view.buffers("ledger", U64.pack(campaign))]
