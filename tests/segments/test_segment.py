"""Saved segments, and the count that a person sees."""

from __future__ import annotations

import pytest

from dispatcher.control.commands import SaveSegment
from dispatcher.errors import CommandRefused
from dispatcher.members.consent import record_optout
from dispatcher.segments import count, get_segment, list_segments, save_segment
from dispatcher.store import Store
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
