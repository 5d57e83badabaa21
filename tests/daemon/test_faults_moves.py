"""A thousand random moves against running campaigns: after each one the counts add up, and in the end so does the log."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from dispatcher.cli.demo_account import read_books
from dispatcher.cli.demo_judge import judge
from dispatcher.control import commands as c
from dispatcher.errors import CommandRefused
from dispatcher.store.verify import find_problems
from tests.fakes.house import House, in_house

MOVES = 1_000
MEMBERS = 2_500


@pytest.mark.parametrize("seed", [20_261])
@in_house(MEMBERS, delay_ms=3, endpoint={"window": 5, "rate": 900})
async def test_a_thousand_pauses_resumes_edits_and_cancels_leave_every_account_whole(house: House, seed: int):
    rng, done = random.Random(seed), Counter[str]()
    campaigns = [await house.send(sender="1000")]
    suppressed = set[int]()

    async def move(kind: str) -> None:
        campaign = campaigns[-1]
        if kind == "pause":
            await house.do(c.PauseCampaign(campaign=campaign))
        elif kind == "resume":
            await house.do(c.ResumeCampaign(campaign=campaign))
        elif kind == "cancel":
            await house.do(c.CancelCampaign(campaign=campaign))
        elif kind == "edit":
            number = rng.choice(house.numbers)
            values = {"name": rng.choice(("Li", "A much longer name than before"))}
            await house.do(c.UpsertMember(msisdn=f"+{number}", values=values))
        elif kind == "suppress":
            number = rng.choice(house.numbers)
            await house.do(c.AddSuppression(numbers=[f"+{number}"], why="asked"))
            suppressed.add(number)
        elif kind == "text":
            await house.do(c.EditCampaign(campaign=campaign, changes={"text": "another text"}))

    kinds = ["pause"] * 30 + ["resume"] * 40 + ["edit"] * 25 + ["suppress"] * 3 + ["text"] * 5 + ["cancel"]
    for _ in range(MOVES):
        kind = rng.choice(kinds)
        try:
            await move(kind)
            done[kind] += 1
        except CommandRefused as exc:  # already paused, not paused, running and so not to be edited
            assert exc.status == 409, exc
            done[f"{kind} refused"] += 1
        house.counts(campaigns[-1])  # it asserts that they add up
        if house.state(campaigns[-1]) in ("cancelled", "done"):
            campaigns.append(await house.send(sender=str(1_000 + len(campaigns))))
    while house.state(campaigns[-1]) == "paused":
        await house.do(c.ResumeCampaign(campaign=campaigns[-1]))
    await house.settled(campaigns[-1])
    assert done["pause"] > 50 and done["resume"] > 50 and done["cancel"] > 2 and done["text refused"] > 10, done
    lines = house.lines()
    for sender, campaign in enumerate(campaigns, 1_000):
        await house.until(lambda campaign=campaign: not house.counts(campaign)["states"]["accepted"])
        counts = house.counts(campaign)
        assert counts["states"]["delivered"] == counts["sent"]
        with house.store.snapshot() as view:
            account = read_books(view, 1, campaign).account
        verdict = judge(account, [line for line in lines if line.source == str(sender)])
        assert (verdict.lost, verdict.duplicates_on_wire, verdict.lines) == (0, 0, counts["sent"]), verdict
    with house.store.snapshot() as view:
        assert list(find_problems(view)) == []
    assert house.counts(campaigns[-1])["skipped"].get("suppressed", 0) <= len(suppressed)
