"""A list of numbers that somebody brings: whom it means, and what is said of the rest."""

from __future__ import annotations

import pytest

from dispatcher.campaigns.campaign import create_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.control.commands import CreateCampaign, PreviewCampaign, SnapshotSegment
from dispatcher.records.keys import parse_public_id
from dispatcher.segments import number_list
from dispatcher.segments.segment import get_segment
from dispatcher.segments.snapshot import snapshot_segment
from dispatcher.store import Store
from tests.fakes.shop import do, new_member, new_shop, refused

FIRST = 4915100000001
LIST = [f"+{FIRST}", "0151 00000002", "12", f"+{FIRST}", "+4915199999999", "no number", "0049 151 00000001"]


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    for i in range(3):
        new_member(store, FIRST + i)
    return store


def kept(store: Store, numbers: list[str], title: str = "Friday"):
    return do(store, snapshot_segment, SnapshotSegment(title=title, numbers=numbers))


def seen(store: Store, expr: str):
    made = do(store, create_campaign, CreateCampaign(title="x", text="Hi", sender="SHOP", expr=expr))
    return do(store, preview_campaign, PreviewCampaign(campaign=parse_public_id("cmp", made["id"])))


def test_a_list_is_the_members_it_means_and_the_rest_is_told_by_its_place(shop):
    reply = kept(shop, LIST)
    assert reply["frozen"]["count"] == 2
    assert [(one["index"], one["code"]) for one in reply["left_out"]] == [
        (2, "no_valid_number"), (3, "duplicate_number"), (4, "not_a_member"), (5, "no_valid_number"),
        (6, "duplicate_number"),
    ]  # fmt: skip
    assert "9999" not in str(reply), "a number that is nobody's is not repeated"
    with shop.snapshot() as view:
        row = get_segment(view, 1, "Friday")
    assert row["frozen"]["listed"] == {
        "given": 7, "skipped": {"duplicate_number": 2, "no_valid_number": 2, "not_a_member": 1},
    }  # fmt: skip


def test_a_campaign_to_a_list_says_what_of_it_is_left_out(shop):
    kept(shop, LIST)
    preview = seen(shop, 'in segment "Friday"')
    assert (preview["matched"], preview["will_send"], preview["listed"]["given"]) == (2, 2, 7)
    assert preview["warnings"][0] == (
        "Of the list's 7 numbers 5 are left out: 2 duplicate number, 2 no valid number, 1 not a member."
    )
    narrower = seen(shop, 'in segment "Friday" and phone is known')
    assert (narrower["matched"], narrower["listed"]) == (2, None)
    kept(shop, LIST[:2], "Clean")
    assert seen(shop, 'in segment "Clean"')["warnings"] == []


def test_a_list_of_nobody_is_kept_and_matches_nobody(shop):
    assert kept(shop, ["12"])["frozen"]["count"] == 0
    assert seen(shop, 'in segment "Friday"')["matched"] == 0


def test_a_list_that_is_too_long_is_refused_with_its_rule(shop, monkeypatch):
    monkeypatch.setattr(number_list, "NUMBERS_MAX", 2)
    refusal = refused(shop, snapshot_segment, SnapshotSegment(title="Long", numbers=LIST[:3]))
    assert (refusal.status, refusal.errors[0]["pointer"]) == (422, "/numbers")
    assert "1 to 2 of them, got 3" in refusal.detail
