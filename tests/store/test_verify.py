"""verify finds nothing in a sound store, and each kind of damage where it is."""

from __future__ import annotations

import struct

import pytest

from dispatcher.apps.points.account import add_points
from dispatcher.control.commands import AddPoints, AddSuppression, EraseMember, UpsertMember
from dispatcher.members.consent import record_optout
from dispatcher.members.erase import erase_member
from dispatcher.members.member import upsert_member
from dispatcher.members.suppression import add_suppression
from dispatcher.records.changes import Changes
from dispatcher.store import Store
from dispatcher.store.blocks import Column
from dispatcher.store.columns import FLAGS, fold_some, plane_entry, put_delta
from dispatcher.store.layout import (
    BLOCK_KEY,
    DELTA_KEY,
    MEMBER_NO,
    OPTOUT_KEY,
    PLANE_OPTOUT_CARE,
    TENANT_U64,
)
from dispatcher.store.values import pack
from dispatcher.store.verify import CHECKS, MSISDN, POINTS, Problem, verify
from tests.fakes.shop import do, new_member, new_shop

NUMBERS = [4915100000001 + i for i in range(6)]


@pytest.fixture(params=[False, True], ids=["delta", "folded"])
def shop(store: Store, request: pytest.FixtureRequest) -> Store:
    """Two tenants; members with points, opt-outs, a suppression, one moved and one erased."""
    for tenant in (new_shop(store), new_shop(store, "Second")):
        for number in NUMBERS[:5]:
            new_member(store, number, tenant=tenant)
    for i, delta in enumerate((50, -20, 7)):
        do(store, add_points, AddPoints(member_no=1, delta=delta, source="pos", key=str(i)))
    do(store, add_points, AddPoints(member_no=4, delta=5, source="pos", key="gone"))
    do(store, add_suppression, AddSuppression(numbers=[f"+{NUMBERS[2]}", "+4917000000000"]))
    do(store, add_suppression, AddSuppression(numbers=[f"+{NUMBERS[3]}"]), tenant=0)
    with store.begin_write() as view:
        view.apply(record_optout(view, 1, NUMBERS[0], ("marketing", "care"), 5000, "stop"))
        view.apply(record_optout(view, 1, 4917000000001, "marketing", 5000, "a stranger"))
    do(store, upsert_member, UpsertMember(member_no=3, msisdn=f"+{NUMBERS[5]}"))
    do(store, erase_member, EraseMember(member_no=4))
    if request.param:
        for tenant in (1, 2):
            with store.begin_write() as view:
                view.apply(fold_some(view, tenant))
    assert problems(store) == []
    return store


def problems(store: Store) -> list[str]:
    with store.snapshot() as view:
        return list(verify(view)["problems"])


def damage(store: Store, *rows: tuple[str, bytes, bytes | None]) -> list[str]:
    changes = Changes()
    for table, key, value in rows:
        changes.rows[table, key] = value
    store.apply(changes)
    return problems(store)


def edit(store: Store, member_no: int, column: Column, octets: bytes) -> list[str]:
    changes = Changes()
    with store.begin_write() as view:
        put_delta(changes, view, 1, member_no, {column: octets})
        view.apply(changes)
    return problems(store)


def test_a_sound_store_has_no_problem_and_its_tables_are_counted(shop: Store):
    with shop.snapshot() as view:
        found = verify(view)
    assert found["problems"] == [] and found["tables"]["tenants"] == 2 and found["tables"]["points_entries"] == 4


def test_a_number_whose_row_is_gone_or_leads_elsewhere_is_found(shop: Store):
    key = TENANT_U64.pack(1, NUMBERS[1])
    assert any(f"member 1: not found by +{NUMBERS[1]}" in each for each in damage(shop, ("phones", key, None)))
    found = damage(shop, ("phones", key, MEMBER_NO.pack(2)))
    assert any(f"+{NUMBERS[1]} -> member 2: its msisdn is {NUMBERS[2]}" in each for each in found)
    assert any("members given are 5" in each for each in damage(shop, ("phones", key, MEMBER_NO.pack(5))))


def test_a_member_whose_number_or_life_changed_alone_is_found(shop: Store):
    assert any("its msisdn is 7" in each for each in edit(shop, 1, MSISDN, struct.pack("<Q", 7)))


def test_a_reserved_number_is_sound_while_its_import_runs(shop: Store):
    reserve = ("phones", TENANT_U64.pack(1, 4915109999999), MEMBER_NO.pack(4))
    assert any("no import is running" in each for each in damage(shop, reserve))
    assert damage(shop, ("imports", TENANT_U64.pack(1, 9), pack({"state": "applying"}))) == []


@pytest.mark.parametrize("change", [({PLANE_OPTOUT_CARE: True}, 1), ({PLANE_OPTOUT_CARE: False}, 0)])
def test_a_plane_that_left_its_table_is_found(shop: Store, change: tuple[dict[int, bool], int]):
    planes, member_no = change
    found = edit(shop, member_no, FLAGS, plane_entry(planes))
    assert len(found) == 1 and f"member {member_no}, plane {PLANE_OPTOUT_CARE}" in found[0]


def test_a_table_row_without_its_plane_is_found(shop: Store):
    row = ("optouts", OPTOUT_KEY.pack(1, NUMBERS[2], PLANE_OPTOUT_CARE), pack({"at_ms": 1, "evidence": ""}))
    assert [each.partition(":")[0] for each in damage(shop, row)] == ["planes_follow_the_tables"]


def test_an_edited_balance_is_found_with_and_without_entries(shop: Store):
    assert "balance 38, opening 0 and entries give 37" in edit(shop, 1, POINTS, struct.pack("<q", 38))[0]
    assert "balance 1, opening" in edit(shop, 0, POINTS, struct.pack("<q", 1))[-1]


def test_a_lost_entry_is_found_by_sum_and_by_key(shop: Store):
    with shop.snapshot() as view:
        first = next(key for key, _ in view.range("points_entries"))
    found = damage(shop, ("points_entries", first, None))
    assert any("an entry says balance 30, the sum is -20" in each for each in found)
    assert any("names an entry that is not there" in each for each in found)


def test_delta_rows_and_blocks_out_of_range_or_damaged_are_found(shop: Store):
    found = damage(
        shop,
        ("delta", DELTA_KEY.pack(1, 0, 900), b"\x10\x00\x00\x01\x01\x00\x01"),
        ("delta", DELTA_KEY.pack(3, 0, 0), b""),
        ("blocks", BLOCK_KEY.pack(1, 99, 0, 0), b"short"),
    )
    assert any("tenant 1, block 0, slot 900: members given are 5" in each for each in found)
    assert any("tenant 3" in each for each in found)
    assert any("field 99" in each and "no block value" in each for each in found)
    found = damage(shop, ("delta", DELTA_KEY.pack(1, 0, 0), b"\x10\x00\x00"))
    assert any("no delta row" in each for each in found)
    assert any("unreadable" in each for each in found)


def test_a_room_may_bring_its_own_check(shop: Store):
    def of_a_room(view: object):
        yield Problem("of_a_room", "here", "something")

    CHECKS.append(of_a_room)
    try:
        assert problems(shop) == ["of_a_room: here: something"]
    finally:
        CHECKS.remove(of_a_room)
