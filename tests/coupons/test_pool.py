"""Coupon pools: made, edited, closed, and what is said of everything else."""

from __future__ import annotations

import pytest

from dispatcher.control.commands import CloseCouponPool, CreateCouponPool, EditCouponPool, Envelope, OpenCouponPool
from dispatcher.coupons.pool import close_pool, create_pool, edit_pool, find_pool, need_pool, open_pool
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes
from dispatcher.store import Store, audit
from tests.coupons.tills import KEY, code, new_pool, number, redeemed, sent_with
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    for i in range(3):
        new_member(store, 4915100000001 + i)
    return store


def test_a_pool_is_shown_without_its_key(shop: Store):
    command = CreateCouponPool(title="Spring", value="cake", stock=5, valid_until_ms=NOW_MS, key=KEY)
    made = do(shop, create_pool, command)
    assert (made["name"], made["value"], made["state"], made["stock"], made["left"]) == ("Spring", "cake", "open", 5, 5)
    assert made["valid_from"] is None and made["valid_until"].endswith("Z")
    assert not any(isinstance(value, bytes) for value in made.values())
    with shop.snapshot() as view:
        assert need_pool(view, 1, number(made["id"]))["key"] == KEY
        assert find_pool(view, 1, made["id"]) == find_pool(view, 1, "SPRING") == number(made["id"])
        assert find_pool(view, 1, "Autumn") is None


def test_two_pools_have_keys_of_their_own():
    assert CreateCouponPool(title="a", value="b").key != CreateCouponPool(title="a", value="b").key


@pytest.mark.parametrize(
    ("wrong", "pointers"),
    [
        ({"title": ""}, ["/name"]),
        ({"title": " Spring"}, ["/name"]),
        ({"value": "x" * 101}, ["/value"]),
        ({"value": "a\nb"}, ["/value"]),
        ({"stock": -1}, ["/stock"]),
        ({"valid_from_ms": 5, "valid_until_ms": 5}, ["/valid_until"]),
        ({"title": "", "stock": -1}, ["/name", "/stock"]),
    ],
)
def test_what_is_wrong_is_named_with_its_rule(shop: Store, wrong: dict[str, object], pointers: list[str]):
    error = refused(shop, create_pool, CreateCouponPool(**{"title": "Spring", "value": "cake", **wrong}))
    assert (error.status, [one["pointer"] for one in error.errors]) == (422, pointers)


def test_a_name_is_one_pools_and_a_tenant_has_its_own(shop: Store):
    new_shop(shop, "Other")
    pool = new_pool(shop)
    error = refused(shop, create_pool, CreateCouponPool(title="spring", value="x"))
    assert (error.status, error.code) == (409, "duplicate_name")
    assert new_pool(shop, tenant=2) != pool
    error = refused(shop, edit_pool, EditCouponPool(pool=pool, changes={"value": "x"}), tenant=2)
    assert (error.status, error.code) == (404, "not_found")


def test_an_edit_is_told_in_the_audit_and_the_key_is_not(shop: Store):
    pool = new_pool(shop)
    with shop.snapshot() as view:
        changes, reply = edit_pool(
            view,
            EditCouponPool(pool=pool, changes={"value": "pie", "stock": 3}),
            Envelope(tenant=1, actor="a", at_ms=1),
        )
        (told,) = audit.edits(view, changes, "coupon_pool.edit")
    assert (reply["value"], reply["stock"], reply["version"]) == ("pie", 3, 2)
    assert (told["object"], told["before"], told["after"]) == (
        reply["id"], {"value": "Spring cake", "stock": None}, {"value": "pie", "stock": 3},
    )  # fmt: skip


def test_an_edit_for_another_version_and_of_nothing_known_is_refused(shop: Store):
    pool = new_pool(shop)
    with shop.snapshot() as view, pytest.raises(CommandRefused) as caught:
        edit_pool(view, EditCouponPool(pool=pool, changes={}), Envelope(tenant=1, actor="a", at_ms=1, version=7))
    assert (caught.value.status, caught.value.code) == (412, "version_changed")
    assert refused(shop, edit_pool, EditCouponPool(pool=pool, changes={"key": KEY})).errors[0]["pointer"] == "/key"


def test_a_stock_cannot_be_less_than_what_is_redeemed(shop: Store):
    pool = new_pool(shop)
    for member in range(2):
        redeemed(shop, code(shop, pool, member))
    error = refused(shop, edit_pool, EditCouponPool(pool=pool, changes={"stock": 1}))
    assert error.errors[0]["pointer"] == "/stock" and "2 of it are redeemed" in error.detail
    assert do(shop, edit_pool, EditCouponPool(pool=pool, changes={"stock": 2}))["left"] == 0


def test_closing_names_the_campaigns_that_may_still_send_and_changes_nothing_twice(shop: Store):
    pool = new_pool(shop)
    campaign = sent_with(shop, pool, "Mail", [])
    closed = do(shop, close_pool, CloseCouponPool(pool=pool))
    assert (closed["state"], [number(one) for one in closed["campaigns"]]) == ("closed", [campaign])
    with shop.snapshot() as view:
        changes, again = close_pool(view, CloseCouponPool(pool=pool), Envelope(tenant=1, actor="a", at_ms=1))
    assert changes == Changes() and again["version"] == closed["version"]
    assert do(shop, open_pool, OpenCouponPool(pool=pool))["state"] == "open"
