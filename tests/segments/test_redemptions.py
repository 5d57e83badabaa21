"""`redeemed campaign`: what tills took, as bitmaps of members, read in the map and by cursor alike."""

from __future__ import annotations

import pytest

from dispatcher.errors import CommandRefused, StoreError
from dispatcher.fastmatch import slots_of
from dispatcher.members.aliases import put_merge
from dispatcher.records.changes import Changes
from dispatcher.records.keys import new_id
from dispatcher.segments.count import count
from dispatcher.segments.engagement import evaluate
from dispatcher.segments.given import Engaged
from dispatcher.segments.plan import compile_text
from dispatcher.store import Store
from dispatcher.store.layout import BLOCK, REDEEMED, TENANT_U64
from tests.fakes.shop import NOW_MS
from tests.segments.crowd import new_crowd, settle
from tests.segments.sends import DAY_MS, PHONE, started

MEMBERS = 2 * BLOCK


@pytest.fixture
def store(store: Store) -> Store:
    tenant = new_crowd(store)
    settle(store, tenant, {no: {"phone": PHONE + no, "live": True} for no in range(0, MEMBERS, 1_000)}, {}, MEMBERS)
    return store


def earned(store: Store, campaign: int, member_no: int, at_ms: int, *, tenant: int = 1, counter: int = 0) -> None:
    changes = Changes()
    key = TENANT_U64.pack(tenant, new_id(at_ms, counter or member_no))
    changes.put("redeemed", key, REDEEMED.pack(at_ms, member_no, 0, campaign))
    store.apply(changes)


def who(store: Store, key: Engaged, as_of_ms: int = NOW_MS + DAY_MS) -> list[int]:
    """Read in the map; a write transaction, which reads by cursor, says the same."""
    found = []
    with store.snapshot() as view:
        found.append(evaluate(view, 1, [key], as_of_ms)[key])
    with store.begin_write() as view:
        found.append(evaluate(view, 1, [key], as_of_ms)[key])
    assert found[0] == found[1]
    return [block * BLOCK + slot for block, bitmap in sorted(found[0].items()) for slot in slots_of(bitmap)]


def test_each_campaign_has_its_own_and_any_has_all(store: Store):
    first, second = started(store, "first"), started(store, "second", at_ms=NOW_MS + 1)
    for member_no in (0, 2_000, BLOCK + 680):
        earned(store, first, member_no, NOW_MS + 10)
    earned(store, second, 1_000, NOW_MS + 20)
    earned(store, second, 3_000, NOW_MS + 20, tenant=2)
    assert who(store, Engaged("redeemed", first)) == [0, 2_000, BLOCK + 680]
    assert who(store, Engaged("redeemed", second)) == [1_000]
    assert who(store, Engaged("redeemed")) == [0, 1_000, 2_000, BLOCK + 680]
    assert who(store, Engaged("redeemed", second + 1)) == []


def test_a_window_and_an_instant_bound_it(store: Store):
    campaign = started(store, "first")
    for day in range(3):
        earned(store, campaign, 1_000 * day, NOW_MS + day * DAY_MS)
    assert who(store, Engaged("redeemed", campaign, None, NOW_MS + DAY_MS), NOW_MS + 3 * DAY_MS) == [1_000, 2_000]
    assert who(store, Engaged("redeemed", campaign, None, NOW_MS + DAY_MS), NOW_MS + DAY_MS) == [1_000]
    assert who(store, Engaged("redeemed", None, None, NOW_MS + DAY_MS + 1), NOW_MS + 3 * DAY_MS) == [2_000]
    assert who(store, Engaged("redeemed", campaign), NOW_MS - 1) == []


def test_who_took_a_member_over_has_what_that_one_redeemed(store: Store):
    campaign = started(store, "first")
    earned(store, campaign, 1_000, NOW_MS)
    changes = Changes()
    put_merge(changes, 1, 1_000, {"into": 5_000, "at_ms": NOW_MS})
    store.apply(changes)
    assert who(store, Engaged("redeemed", campaign)) == [1_000, 5_000]


def test_a_rule_asks_for_it_in_words_and_with_no_text(store: Store):
    campaign = started(store, "Spring")
    earned(store, campaign, 1_000, NOW_MS)
    earned(store, campaign, 2_000, NOW_MS)
    with store.snapshot() as view:
        for expr, many in (
            ('redeemed campaign "Spring"', 2),
            ("redeemed any campaign in last 2 days", 2),
            ('兑换过活动 "Spring"', 2),
            ('not redeemed campaign "Spring"', MEMBERS // 1_000 - 1),
        ):
            assert count(view, 1, expr, as_of_ms=NOW_MS + 1_000)["matched"] == many, expr
        with pytest.raises(CommandRefused, match="asks what a reply says"):
            compile_text(view, 1, 'redeemed campaign "Spring" with "Mitte"', as_of_ms=NOW_MS)


def test_a_row_that_is_none_is_named(store: Store):
    changes = Changes()
    changes.put("redeemed", TENANT_U64.pack(1, new_id(NOW_MS, 0)), b"short")
    store.apply(changes)
    with pytest.raises(StoreError, match="not a redemption"):
        who(store, Engaged("redeemed"))
