"""Saved segments, and the count that a person sees."""

from __future__ import annotations

import pytest

from dispatcher.campaigns.campaign import create_campaign, delete_campaign
from dispatcher.control.commands import (
    CreateCampaign,
    DefineField,
    DeleteCampaign,
    DeleteSegment,
    EditSegment,
    SaveSegment,
)
from dispatcher.errors import CommandRefused
from dispatcher.members.consent import record_optout
from dispatcher.members.fields import define_field
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id
from dispatcher.segments import count, get_segment, list_segments, save_segment
from dispatcher.segments.names import names_in, rename_in
from dispatcher.segments.segment import delete_segment, edit_segment, rename_field, segment_versions
from dispatcher.store import Store
from dispatcher.store.layout import TENANT_U64
from dispatcher.store.values import pack
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused


def test_a_saved_segment_is_canonical_and_gets_a_version_when_it_changes(store: Store) -> None:
    tenant = new_shop(store)
    first = do(store, save_segment, SaveSegment(title=" Gold ", expr='TIER="gold" and(visits>3)'), tenant=tenant)
    assert first["expr"] == 'tier = "gold" and visits > 3' and first["version"] == 1 and first["warnings"] == []
    same = do(store, save_segment, SaveSegment(title="Gold", expr=first["expr"]), tenant=tenant)
    assert same["version"] == 1 and same["id"] == first["id"]
    changed = do(store, save_segment, SaveSegment(title="Gold", expr="visits > 4"), tenant=tenant, at_ms=NOW_MS + 5)
    assert changed["version"] == 2 and changed["id"] == first["id"]
    with store.snapshot() as view:
        (listed,) = list_segments(view, tenant)
        assert listed == {name: value for name, value in changed.items() if name != "warnings"}
        assert get_segment(view, tenant, "Gold") == get_segment(view, tenant, listed["id"]) == listed
        assert get_segment(view, tenant, "gold") is None and list_segments(view, tenant + 1) == []


def test_a_segment_without_a_title_or_with_a_wrong_rule_is_not_saved(store: Store) -> None:
    tenant = new_shop(store)
    assert refused(store, save_segment, SaveSegment(title=" ", expr="everyone"), tenant=tenant).code == "invalid_value"
    assert refused(store, save_segment, SaveSegment(title="a", expr="every"), tenant=tenant).code == "segment_syntax"
    with store.snapshot() as view:
        assert list_segments(view, tenant) == []


def test_a_count_says_who_fell_out_and_why_and_as_of_when(store: Store) -> None:
    tenant = new_shop(store)
    for n in range(6):
        new_member(store, 4915100000001 + n, tenant=tenant, visits=n if n else None)
    with store.begin_write() as view:
        view.apply(record_optout(view, tenant, 4915100000003, "marketing", NOW_MS, "STOP"))
    with store.snapshot() as view:
        found = count(view, tenant, "visits>=2", as_of_ms=1_700_000_000_123)
        assert found.pop("ms") > 0
        assert found == {
            "matched": 4,
            "reachable": 3,
            "waterfall": {"no_valid_number": 0, "suppressed": 0, "opted_out": 1},
            "unknown": 1,
            "as_of": "2023-11-14T23:13:20.123+01:00",
            "text": "visits >= 2",
            "warnings": [],
        }
        assert count(view, tenant, "visits >= 2 limit 2", as_of_ms=NOW_MS)["reachable"] == 1
        assert count(view, tenant, "visits >= 2", "otp", NOW_MS)["waterfall"] == {"no_valid_number": 0, "suppressed": 0}


def test_a_count_for_an_unknown_tenant_is_refused(store: Store) -> None:
    with store.snapshot() as view, pytest.raises(CommandRefused, match="not_found"):
        count(view, 7, "everyone")


def number_of(row: dict[str, object]) -> int:
    number = parse_public_id("seg", str(row["id"]))
    assert number is not None
    return number


def saved(store: Store, tenant: int, title: str, expr: str, **more: str) -> int:
    return number_of(do(store, save_segment, SaveSegment(title=title, expr=expr, **more), tenant=tenant))


def edited(store: Store, tenant: int, segment: int, at_ms: int = NOW_MS, **changes: object) -> dict[str, object]:
    return do(store, edit_segment, EditSegment(segment=segment, changes=changes), tenant=tenant, at_ms=at_ms)


def not_edited(store: Store, tenant: int, segment: int, **changes: object) -> CommandRefused:
    return refused(store, edit_segment, EditSegment(segment=segment, changes=changes), tenant=tenant)


def test_every_text_that_a_segment_had_is_kept_with_who_and_when(store: Store) -> None:
    tenant = new_shop(store)
    segment = saved(store, tenant, "Gold", "visits > 1", description="the best")
    edited(store, tenant, segment, NOW_MS + 1, expr="visits > 2")
    edited(store, tenant, segment, NOW_MS + 2, expr="visits>2", description="")  # the same text: no version
    do(store, save_segment, SaveSegment(title="Gold", expr="visits > 3"), tenant=tenant, at_ms=NOW_MS + 3)
    with store.snapshot() as view:
        assert segment_versions(view, tenant, segment) == [
            {"version": n, "title": "Gold", "expr": f"visits > {n}", "at_ms": NOW_MS + at, "actor": "test"}
            for n, at in ((1, 0), (2, 1), (3, 3))
        ]
        second = get_segment(view, tenant, "Gold", 2)
        assert second is not None and (second["expr"], second["version"]) == ("visits > 2", 2)
        now = get_segment(view, tenant, "Gold", 3)
        assert now == get_segment(view, tenant, "Gold") and now is not None and now["description"] == ""
        assert get_segment(view, tenant, "Gold", 4) is None
        with pytest.raises(CommandRefused, match="not_found"):
            segment_versions(view, tenant, segment + 1)


def test_a_segment_of_the_older_schema_keeps_the_text_it_had(store: Store) -> None:
    tenant = new_shop(store)
    changes = Changes()
    row = {"name": "old", "expr": "visits > 1", "version": 4, "created_ms": 5, "changed_ms": 6}
    changes.put("segments", TENANT_U64.pack(tenant, 9), pack(row))
    store.apply(changes)
    with store.snapshot() as view:
        (only,) = segment_versions(view, tenant, 9)
        assert (only["version"], only["at_ms"], only["actor"]) == (4, 6, "")
    edited(store, tenant, 9, expr="visits > 2")
    with store.snapshot() as view:
        assert [(row["version"], row["expr"]) for row in segment_versions(view, tenant, 9)] == [
            (4, "visits > 1"),
            (5, "visits > 2"),
        ]


def test_an_edit_is_held_against_the_version_its_writer_saw(store: Store) -> None:
    tenant = new_shop(store)
    segment = saved(store, tenant, "Gold", "visits > 1")
    assert edited(store, tenant, segment, version=1, expr="visits > 2")["version"] == 2
    assert not_edited(store, tenant, segment, version=1, expr="visits > 3").status == 412
    assert not_edited(store, tenant, segment, colour="red").errors[0]["pointer"] == "/colour"
    assert not_edited(store, tenant, segment, title=5).errors[0]["pointer"] == "/title"
    assert not_edited(store, tenant, segment, title=" ").status == 422
    assert not_edited(store, tenant, segment, expr="visits >").code == "segment_syntax"
    assert not_edited(store, tenant, segment + 1, title="x").status == 404


def test_a_rename_is_followed_by_the_segments_that_name_it(store: Store) -> None:
    tenant = new_shop(store)
    segment = saved(store, tenant, "Gold", "visits > 1")
    saved(store, tenant, "Both", 'in segment "Gold" or not (visits = 0 and in segment "Gold")')
    saved(store, tenant, "Other", 'name = "Gold"')
    assert edited(store, tenant, segment, NOW_MS + 7, title='The "Gold"')["version"] == 1
    with store.snapshot() as view:
        rows = {row["title"]: row for row in list_segments(view, tenant)}
        assert rows["Both"]["expr"] == 'in segment "The \\"Gold\\"" or not (visits = 0 and in segment "The \\"Gold\\"")'
        assert rows["Both"]["version"] == 2 and rows["Other"]["version"] == 1
        assert count(view, tenant, 'in segment "Both"', as_of_ms=NOW_MS)["matched"] == 0
    assert "already" in not_edited(store, tenant, segment, title="Both").detail
    for expr in ('in segment "Both"', 'in segment "New"', 'in segment "The \\"Gold\\""'):
        assert "contain itself" in not_edited(store, tenant, segment, title="New", expr=expr).detail


def test_a_segment_that_is_named_is_not_deleted_and_says_by_whom(store: Store) -> None:
    tenant = new_shop(store)
    segment = saved(store, tenant, "Gold", "visits > 1")
    outer = saved(store, tenant, "Outer", 'in segment "Gold"')
    campaign = do(
        store, create_campaign, CreateCampaign(title="Spring", text="Hi", expr='in segment "Gold"'), tenant=tenant
    )
    found = refused(store, delete_segment, DeleteSegment(segment=segment), tenant=tenant)
    assert found.status == 409
    assert found.extra == {"segments": ["Outer"], "campaigns": [{"id": campaign["id"], "title": "Spring"}]}
    assert "Spring" in not_edited(store, tenant, segment, title="Silver").detail
    do(store, delete_segment, DeleteSegment(segment=outer), tenant=tenant)
    number = parse_public_id("cmp", campaign["id"])
    assert number is not None
    do(store, delete_campaign, DeleteCampaign(campaign=number), tenant=tenant)
    assert do(store, delete_segment, DeleteSegment(segment=segment), tenant=tenant)["deleted"] is True
    with store.snapshot() as view:
        assert list_segments(view, tenant) == [] and list(view.range("segment_versions")) == []
    assert refused(store, delete_segment, DeleteSegment(segment=segment), tenant=tenant).status == 404


def test_a_renamed_field_is_renamed_in_every_segment(store: Store) -> None:
    tenant = new_shop(store)
    do(store, define_field, DefineField(title="region", kind="dict"), tenant=tenant)
    saved(store, tenant, "one", "visits > 1 and (city is known or not visits = 7) top 5 by visits")
    saved(store, tenant, "two", 'name = "visits"')
    saved(store, tenant, "three", 'in region "a"')
    saved(store, tenant, "four", "age > 5")
    with store.begin_write() as view:
        changes = Changes()
        assert rename_field(view, changes, tenant, "visits", "stays", at_ms=NOW_MS, actor="key") == ["one"]
        view.apply(changes)
        for old in ("region", "birthday"):
            with pytest.raises(CommandRefused, match="cannot be renamed"):
                rename_field(view, Changes(), tenant, old, "other")
    with store.snapshot() as view:
        row = get_segment(view, tenant, "one")
        assert row is not None and row["version"] == 2
        assert row["expr"] == "stays > 1 and (city is known or not stays = 7) top 5 by stays"


def test_names_of_a_text_are_those_of_its_fields() -> None:
    text = 'a > 1 and not (b in last 3 days or has tag "x") except in region "y" or age = 3 top 3 by c'
    assert names_in(text) == {"a", "b", "c", "region", "age", "birthday"}
    assert names_in("age = 3", ["age"]) == {"age"}
    assert rename_in(text, "b", "d") == text.replace("b in last", "d in last")
    assert rename_in(text, "x", "z") is None
