"""One change to everybody an expression matches: frozen at the start, slice by slice, and back again."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bench.import_small import written
from dispatcher.apps.bulk import edit_members, meant, would_change
from dispatcher.control.commands import (
    CancelImport,
    DefineField,
    EditMembers,
    Envelope,
    EraseMember,
    UndoImport,
    UpsertMember,
)
from dispatcher.errors import CommandRefused
from dispatcher.members import bulk, provenance
from dispatcher.members.bulk import BulkJob
from dispatcher.members.edit_jobs import job_of, unfinished_edits
from dispatcher.members.erase import erase_member
from dispatcher.members.fields import define_field
from dispatcher.members.import_restore import UndoJob
from dispatcher.members.importer import cancel_import, read_import, undo_import
from dispatcher.members.member import member_json, upsert_member
from dispatcher.records.changes import Changes
from dispatcher.store import Store
from dispatcher.store.columns import fold_some
from dispatcher.store.layout import BLOCK, LEDGER_KEY
from dispatcher.store.verify import find_problems
from tests.fakes.people import everybody, people_shop, run_import
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

FIRST = 4915100000000


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    for at in range(20):
        new_member(store, FIRST + at, visits=at, city="Bonn" if at % 2 else "Köln", tags=["old"] if at < 5 else [])
    return store


def start(store: Store, expr: str, tenant: int = 1, **change: Any) -> int:
    return int(do(store, edit_members, EditMembers(expr=expr, **change), tenant=tenant)["job"])


def drive(store: Store, job_id: int, tenant: int = 1, slices: int = 1 << 30) -> dict[str, Any]:
    """Slices as the daemon commits them, a new job object each, as after a kill; the row then."""
    for _ in range(slices):
        job = BulkJob(tenant, job_id)
        with store.begin_write() as view:
            changes = job.next_slice(view, NOW_MS)
            if changes is None:
                assert job.finished
                break
            assert changes.octets < 4 << 20
            view.apply(changes)
    with store.snapshot() as view:
        assert [str(problem) for problem in find_problems(view)] == []
        row = read_import(view, tenant, job_id)
    assert row is not None
    return row


def edit(store: Store, expr: str, **change: Any) -> dict[str, Any]:
    return drive(store, start(store, expr, **change))


def values(store: Store, name: str) -> list[Any]:
    return [member["values"][name] for _, member in sorted(everybody(store).items())]


def test_everybody_who_matches_gets_the_values_and_nobody_else(shop: Store):
    row = edit(shop, "visits >= 10", values={"city": "Ulm", "vip": True, "joined": "2026-01-31", "visits": None})
    assert (row["state"], row["of"], row["done"], row["members_changed"]) == ("done", 10, 10, 10)
    assert values(shop, "city") == ["Köln", "Bonn"] * 5 + ["Ulm"] * 10
    assert values(shop, "vip") == [None] * 10 + [True] * 10
    assert values(shop, "visits") == [*range(10), *[None] * 10]


def test_tags_are_put_on_and_taken_off_and_others_stay(shop: Store):
    row = edit(shop, "visits < 10", tags_add=["new"], tags_remove=["old", "never heard of"])
    assert row["members_changed"] == 10
    assert values(shop, "tags") == [["new"]] * 10 + [[]] * 10
    edit(shop, "visits between 3 and 4", tags_add=["old"])
    assert values(shop, "tags")[3] == ["old", "new"]


def test_who_has_the_value_already_is_not_changed(shop: Store):
    row = edit(shop, "everyone", values={"city": "Bonn"})
    assert (row["done"], row["members_changed"]) == (20, 10)


def test_the_audience_is_frozen_at_the_start(shop: Store):
    job_id = start(shop, 'city = "Bonn"', values={"name": "Bo"})
    late = new_member(shop, FIRST + 90, city="Bonn")
    do(shop, upsert_member, UpsertMember(msisdn=f"+{FIRST + 1}", values={"city": "Köln"}))
    do(shop, erase_member, EraseMember(member_no=3))
    row = drive(shop, job_id)
    assert (row["of"], row["members_changed"]) == (10, 9)
    with shop.snapshot() as view:
        members = [member_json(view, 1, no) for no in (1, 3, late)]
    assert [member["values"]["name"] if member else None for member in members] == ["Bo", None, None]


def test_a_dry_run_counts_and_writes_nothing(shop: Store):
    with shop.snapshot() as view:
        edit, text, blocks = meant(view, 1, EditMembers(expr="everyone", values={"city": "Bonn"}), NOW_MS)
        assert (text, sum(count for _, _, count in blocks)) == ("everyone", 20)
        assert would_change(view, 1, edit, blocks) == 10


def test_a_cancelled_job_stops_and_leaves_nothing_behind(shop: Store):
    job_id = start(shop, "everyone", values={"name": "X"})
    do(shop, cancel_import, CancelImport(import_id=job_id))
    row = drive(shop, job_id)
    assert (row["state"], row["members_changed"]) == ("cancelled", 0)
    with shop.snapshot() as view:
        assert view.count("bitmaps") == 0


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"values": {"nmae": "x"}}, "unknown_field", "/set/nmae"),
        ({"values": {"tier": "iron"}}, "invalid_value", "/set/tier"),
        ({"values": {"points": 5}}, "invalid_value", "/set/points"),
        ({"tags_add": ["a"], "tags_remove": ["a"]}, "invalid_value", "/tags"),
        ({"values": {"tags": ["a"]}, "tags_add": ["b"]}, "invalid_value", None),
        ({}, "invalid_value", None),
    ],
)
def test_a_change_that_cannot_be_is_refused_before_anybody_is_touched(shop, change, code, pointer):
    before = everybody(shop)
    refusal = refused(shop, edit_members, EditMembers(expr="everyone", **change))
    assert refusal.code == code
    assert pointer is None or refusal.errors[0]["pointer"] == pointer
    assert everybody(shop) == before


def test_a_wrong_expression_is_refused_with_its_place(shop: Store):
    refusal = refused(shop, edit_members, EditMembers(expr="visits >", values={"name": "X"}))
    assert refusal.status == 422


def test_many_blocks_go_in_slices_and_a_kill_between_any_two_loses_nothing(store: Store):
    tenant = people_shop(store)
    people = BLOCK + 500
    rows = "".join(f"+{FIRST + at},Member {at},{at % 40}\n" for at in range(people))
    run_import(store, 1, f"phone,name,visits\n{rows}".encode(), tenant=tenant)
    before = everybody(store, tenant)
    job_id = start(store, "everyone", tenant, values={"name": "The same for all of them"}, tags_add=[])
    row = drive(store, job_id, tenant)
    assert row["members_changed"] == people
    assert {member["values"]["name"] for member in everybody(store, tenant).values()} == {"The same for all of them"}
    undo(store, job_id, tenant)
    assert everybody(store, tenant) == before


def undo(store: Store, job_id: int, tenant: int = 1) -> dict[str, Any]:
    do(store, undo_import, UndoImport(import_id=job_id), tenant=tenant, at_ms=NOW_MS)
    job = UndoJob(tenant, job_id)
    while not job.finished:
        with store.begin_write() as view:
            changes = job.next_slice(view, NOW_MS)
            if changes is not None:
                view.apply(changes)
    with store.snapshot() as view:
        row = read_import(view, tenant, job_id)
    assert row is not None
    return row


def test_an_undo_gives_back_what_was_there(shop: Store):
    before = everybody(shop)
    job_id = start(
        shop, "visits >= 3", values={"city": "Ulm", "name": "X", "visits": None, "spend": "1.50"}, tags_add=["n"],
        tags_remove=["old"],
    )  # fmt: skip
    drive(shop, job_id)
    assert everybody(shop) != before
    assert undo(shop, job_id)["state"] == "undone"
    assert everybody(shop) == before


def test_an_undo_lists_who_was_changed_since_and_touches_nobody(shop: Store):
    job_id = start(shop, "everyone", values={"city": "Ulm"})
    drive(shop, job_id)
    do(shop, upsert_member, UpsertMember(member_no=4, values={"city": "Jena"}, create=False))
    row = undo(shop, job_id)
    assert row["state"] == "done" and row["undo"]["conflicts_found"] == 1, row
    assert set(values(shop, "city")) == {"Ulm", "Jena"}


def test_a_job_of_a_row_is_the_right_one(shop: Store):
    job_id = start(shop, "everyone", values={"name": "X"})
    with shop.snapshot() as view:
        row = read_import(view, 1, job_id)
        assert row is not None and unfinished_edits(view) == [(1, job_id)]
    assert isinstance(job_of(1, job_id, row), BulkJob) and job_of(1, job_id, {"state": "applying"}) is None
    drive(shop, job_id)
    with shop.snapshot() as view:
        assert unfinished_edits(view) == []


def test_few_of_a_block_become_delta_rows_and_many_a_block(shop: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk, "FOLD_FROM", 10)
    edit(shop, "visits < 9", values={"name": "delta"})
    edit(shop, "visits >= 9", values={"name": "folded"})
    assert values(shop, "name") == ["delta"] * 9 + ["folded"] * 11
    with shop.begin_write() as view:
        view.apply(fold_some(view, 1))
    assert values(shop, "name") == ["delta"] * 9 + ["folded"] * 11


def test_a_better_source_keeps_its_value_and_the_others_get_theirs(shop: Store):
    do(shop, define_field, DefineField(title="mail", kind="text", sources=True, source_rank=["staff", "bulk"]))
    do(shop, upsert_member, UpsertMember(member_no=3, create=False, values={"mail": "a@b"}, source="staff"))
    before = everybody(shop)
    job_id = start(shop, "visits <= 4", values={"mail": "x@y", "vip": True})
    row = drive(shop, job_id)
    assert row["members_changed"] == 5
    assert values(shop, "mail")[:6] == ["x@y", "x@y", "x@y", "a@b", "x@y", None] and values(shop, "vip")[3]
    with shop.snapshot() as view:
        assert provenance.of(view, 1, 0)["mail"]["source"].startswith("bulk:imp_")
        assert provenance.of(view, 1, 3)["mail"]["source"] == "staff"
    undo(shop, job_id)
    assert everybody(shop) == before
    with shop.snapshot() as view:
        assert provenance.of(view, 1, 0) == {} and provenance.of(view, 1, 3)["mail"]["source"] == "staff"


def test_another_tenants_members_are_nobodys_here(shop: Store):
    other = new_shop(shop, "Other")
    new_member(shop, FIRST, tenant=other, visits=1)
    edit(shop, "everyone", values={"name": "X"})
    assert [member["values"]["name"] for member in everybody(shop, other).values()] == [None]
    with shop.begin_write() as view, pytest.raises(CommandRefused):
        edit_members(view, EditMembers(expr="everyone", values={"name": "X"}), Envelope(tenant=9, actor="t", at_ms=0))


def test_the_audience_of_30_million_members_picked_at_random_is_frozen_in_one_small_commit(store: Store):
    blocks = [(block, bytearray(random.Random(block).randbytes(BLOCK // 8)), 0) for block in range(30_000_000 // BLOCK)]
    changes = Changes()
    bulk.freeze(changes, 1, blocks)
    before = written()
    store.apply(changes)
    assert written() - before < 4 << 20
    with store.snapshot() as view:
        kept = [each for _, some in bulk._frozen(view, 1) for each in some]
    assert kept == [(block, bytes(bitmap)) for block, bitmap, _ in blocks]


def test_a_job_that_an_earlier_version_began_goes_on(shop: Store):
    job_id = start(shop, "visits < 10", values={"city": "Ulm"})
    with shop.snapshot() as view:
        frozen = list(bulk._frozen(view, job_id))
    changes = Changes()
    for place, blocks in frozen:
        changes.delete("bitmaps", place)
        for block, bitmap in blocks:
            changes.put("bitmaps", LEDGER_KEY.pack(job_id, bulk.WHICH_FROZEN, block), bitmap)
    shop.apply(changes)
    assert drive(shop, job_id)["members_changed"] == 10
    with shop.snapshot() as view:
        assert view.count("bitmaps") == 0
