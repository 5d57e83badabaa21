"""Merges, erasures and bulk edits beside a running broadcast, and killed in the middle."""

from __future__ import annotations

import os

import pytest
import trio

from dispatcher.control import commands as c
from dispatcher.daemon.crash import VARIABLE
from dispatcher.members.aliases import alias_of
from dispatcher.members.edit_jobs import unfinished_edits
from dispatcher.members.importer import read_import
from dispatcher.members.member import member_json
from dispatcher.store.verify import find_problems
from tests.fakes.house import House, in_house

MANY = 20_000  # three slices


def row_of(house: House, job: int) -> dict[str, object]:
    assert house.store is not None
    with house.store.snapshot() as view:
        return read_import(view, 1, job) or {}


def problems(house: House) -> list[str]:
    assert house.store is not None
    with house.store.snapshot() as view:
        return [str(problem) for problem in find_problems(view)]


@pytest.mark.parametrize("slice_no", [1, 2, 3])
@in_house(MANY, process=True, started=False)
async def test_a_bulk_edit_killed_in_any_slice_is_done_by_the_next_start(house: House, slice_no: int):
    os.environ[VARIABLE] = f"in_import:{slice_no}"
    try:
        await house.start()
    finally:
        del os.environ[VARIABLE]
    job = (await house.do(c.EditMembers(expr="everyone", values={"name": "Same"})))["job"]
    assert house.child is not None
    assert await house.child.wait() < 0
    await house.start()
    await house.until(lambda: row_of(house, job)["state"] == "done")
    row = row_of(house, job)
    assert row["done"] == row["members_changed"] == MANY and problems(house) == []
    with house.store.snapshot() as view:
        assert {member_json(view, 1, no)["values"]["name"] for no in (0, 9_000, MANY - 1)} == {"Same"}
        assert unfinished_edits(view) == [] and view.count("bitmaps") == 0


@in_house(MANY)
async def test_a_cancelled_bulk_edit_stops_between_two_slices(house: House):
    job = (await house.do(c.EditMembers(expr="everyone", values={"name": "Same"})))["job"]
    await house.do(c.CancelImport(import_id=job))
    await house.until(lambda: house.life.imports.running == 0)
    row = row_of(house, job)
    assert row["state"] == "cancelled" and row["members_changed"] == row["done"] < MANY
    with house.store.snapshot() as view:
        assert view.count("bitmaps") == 0
    assert problems(house) == []


@in_house(500, delay_ms=20, endpoint={"binds": 1, "window": 5})
async def test_an_erased_member_gets_nothing_more_of_a_running_broadcast(house: House):
    campaign = await house.send()
    await house.until(lambda: len(house.lines()) >= 20)
    last = len(house.numbers) - 1
    await house.do(c.EraseMember(member_no=last))
    await house.settled(campaign)
    await trio.sleep(0)
    assert house.lines(house.numbers[last]) == []
    found = house.recipients(campaign)[last]
    assert found["decision"] in ("suppressed", "no_valid_number", "erased") and found["state"] == "unsent"
    await house.until(lambda: house.life.imports.running == 0)
    assert problems(house) == []


@in_house(300, delay_ms=20, endpoint={"binds": 1, "window": 5})
async def test_a_merge_beside_a_running_broadcast_leaves_the_account_whole(house: House):
    campaign = await house.send()
    await house.until(lambda: len(house.lines()) >= 20)
    await house.do(c.MergeMembers(winner=298, loser=299))
    await house.settled(campaign)
    assert len(house.lines(house.numbers[298])) == 1
    with house.store.snapshot() as view:
        assert alias_of(view, 1, house.numbers[299]) == 298
        assert member_json(view, 1, 298)["points"] == 298 % 50 + 299 % 50
    assert problems(house) == []
