"""A segment's members kept at an instant: who they were, whatever changes later; used as any segment."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.apps.merge import merge_members
from dispatcher.control.commands import (
    DeleteSegment,
    EditSegment,
    Envelope,
    EraseMember,
    MergeMembers,
    SaveSegment,
    SnapshotSegment,
    UpsertMember,
)
from dispatcher.members.erase import erase_member
from dispatcher.members.member import upsert_member
from dispatcher.records.keys import parse_public_id
from dispatcher.segments.answers import choose
from dispatcher.segments.count import count
from dispatcher.segments.explain import explain
from dispatcher.segments.segment import delete_segment, edit_segment, get_segment, list_segments, save_segment
from dispatcher.segments.snapshot import freeze_segment, snapshot_segment
from dispatcher.store import Store
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

ONE = 4915100000001
ENVELOPE = Envelope(tenant=1, actor="test", at_ms=NOW_MS)


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    for n in range(6):
        new_member(store, ONE + n, city="Bonn" if n < 4 else "Berlin")
    return store


def frozen(store: Store, expr: str = 'city = "Bonn"', title: str = "Bonn then", **rest: Any) -> dict[str, Any]:
    return do(store, snapshot_segment, SnapshotSegment(title=title, expr=expr, **rest), at_ms=NOW_MS + 1)


def members(store: Store, expr: str) -> list[int]:
    with store.snapshot() as view:
        return list(choose(view, 1, expr, NOW_MS + 2).numbers())


def moves(store: Store, member_no: int, city: str) -> None:
    do(store, upsert_member, UpsertMember(member_no=member_no, create=False, values={"city": city}))


def number_of(reply: dict[str, Any]) -> int:
    number = parse_public_id("seg", reply["id"])
    assert number is not None
    return number


def test_a_snapshot_keeps_who_matched_while_its_rule_goes_on(shop: Store):
    reply = frozen(shop)
    assert (reply["frozen"]["count"], reply["frozen"]["rule"], reply["expr"]) == (
        4, 'city = "Bonn"', 'in segment "Bonn then"',
    )  # fmt: skip
    moves(shop, 0, "Berlin")
    moves(shop, 5, "Bonn")
    assert members(shop, 'city = "Bonn"') == [1, 2, 3, 5]
    assert members(shop, 'in segment "Bonn then"') == [0, 1, 2, 3]
    assert members(shop, 'in segment "Bonn then" and not city = "Bonn"') == [0]
    with shop.snapshot() as view:
        assert count(view, 1, reply["expr"], as_of_ms=NOW_MS + 2)["matched"] == 4
        assert explain(view, 1, reply["expr"], "marketing", NOW_MS + 2)["matched"] == 4


def test_a_snapshot_of_a_cut_segment_may_be_part_of_another(shop: Store):
    frozen(shop, "everyone limit 2", "First two")
    do(shop, save_segment, SaveSegment(title="Bonn of those", expr='in segment "First two" and city = "Bonn"'))
    moves(shop, 0, "Berlin")
    assert members(shop, 'in segment "Bonn of those"') == [1]


def test_it_is_listed_renamed_and_deleted_as_any_segment(shop: Store):
    segment = number_of(frozen(shop, description="before the move"))
    with shop.snapshot() as view:
        (row,) = list_segments(view, 1)
    assert row["description"] == "before the move" and row["frozen"]["as_of_ms"] == NOW_MS + 1
    do(shop, save_segment, SaveSegment(title="Not those", expr='not in segment "Bonn then"'))
    do(shop, edit_segment, EditSegment(segment=segment, changes={"title": "Bonn in spring"}))
    assert members(shop, 'in segment "Bonn in spring"') == [0, 1, 2, 3]
    assert members(shop, 'in segment "Not those"') == [4, 5]
    assert refused(shop, delete_segment, DeleteSegment(segment=segment)).code == "state_conflict"
    with shop.snapshot() as view:
        other = get_segment(view, 1, "Not those")
    assert other is not None
    do(shop, delete_segment, DeleteSegment(segment=number_of(other)))
    do(shop, delete_segment, DeleteSegment(segment=segment))
    with shop.snapshot() as view:
        assert list_segments(view, 1) == [] and [*view.range("bitmaps")] == []


def test_a_title_that_is_taken_and_another_rule_are_refused(shop: Store):
    segment = number_of(frozen(shop))
    again = refused(shop, snapshot_segment, SnapshotSegment(title="Bonn then", expr="everyone"))
    assert (again.status, again.code) == (409, "state_conflict")
    saved = refused(shop, save_segment, SaveSegment(title="Bonn then", expr="everyone"))
    edited = refused(shop, edit_segment, EditSegment(segment=segment, changes={"expr": "everyone"}))
    assert [saved.status, edited.status] == [409, 409] and "snapshot" in saved.detail
    wrong = refused(shop, snapshot_segment, SnapshotSegment(title="X", expr="city ="))
    assert (wrong.status, wrong.code) == (422, "segment_syntax")
    assert refused(shop, snapshot_segment, SnapshotSegment(title="", expr="everyone")).status == 422


def test_who_was_erased_is_in_it_no_more_and_who_was_merged_is_there_as_who_took_over(shop: Store):
    frozen(shop)
    do(shop, erase_member, EraseMember(member_no=0, salt=bytes(16)))
    do(shop, merge_members, MergeMembers(winner=5, loser=1))
    assert members(shop, 'in segment "Bonn then"') == [2, 3, 5]


def test_who_matched_is_found_on_one_snapshot_and_written_on_a_later_one(shop: Store):
    command = SnapshotSegment(title="Bonn then", expr='city = "Bonn"')
    with shop.snapshot() as view:
        found = freeze_segment(view, command, ENVELOPE)
    moves(shop, 0, "Berlin")
    with shop.begin_write() as view:
        changes, reply = snapshot_segment(view, command, ENVELOPE, found)
        view.apply(changes)
    assert reply["frozen"]["count"] == 4
    assert members(shop, 'in segment "Bonn then"') == [0, 1, 2, 3]
