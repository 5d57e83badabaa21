"""What must add up about coupons: a pool's counters, whose coupon is redeemed, which campaign earned it.

Touches: coupon_pools, redemptions, coupons, coupon_keys, redeemed, read-only; rows as coupons/redeem.py draws them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from dispatcher.records.changes import View
from dispatcher.store.layout import COUPON_KEY, REDEEMED, TENANT, TENANT_U64, U64
from dispatcher.store.problem import Check, Problem
from dispatcher.store.values import unpack


def coupon_pools_add_up(view: View) -> Iterator[Problem]:
    """A pool's counters are the rows that stand, and no more are redeemed than it has in stock."""
    rule = "coupon_pools_add_up"
    stand: Counter[tuple[int, int, str]] = Counter()
    for key, octets in view.range("redemptions"):
        row = unpack(octets)
        if row["undone"] is None:
            stand[TENANT_U64.unpack(key)[0], row["pool"], row["kind"]] += 1
    for key, octets in view.range("coupon_pools"):
        tenant, pool = TENANT_U64.unpack(key)
        of, place = unpack(octets), f"tenant {tenant}, pool {pool}"
        for kind in ("redeemed", "void"):
            if of[kind] != (many := stand.pop((tenant, pool, kind), 0)):
                yield Problem(rule, place, f"says {of[kind]} {kind}, rows are {many}")
        if of["stock"] is not None and of["redeemed"] > of["stock"]:
            yield Problem(rule, place, f"{of['redeemed']} redeemed of a stock of {of['stock']}")
    for (tenant, pool, kind), many in stand.items():
        yield Problem(rule, f"tenant {tenant}, pool {pool}", f"{many} {kind}, and no such pool")


def coupons_are_redeemed_once(view: View) -> Iterator[Problem]:
    """What stands of a member's coupon is the only thing that stands; whatever leads to a redemption finds one."""
    rule = "coupons_are_redeemed_once"
    for key, octets in view.range("redemptions"):
        (tenant, redemption), row = TENANT_U64.unpack(key), unpack(octets)
        if row["undone"] is not None or row["member_no"] is None:
            continue
        if _standing(view, tenant, row["pool"], row["member_no"]) != redemption:
            place = f"tenant {tenant}, redemption {redemption}"
            yield Problem(rule, place, f"is not what stands of member {row['member_no']}")
    for key, octets in view.range("coupons"):
        tenant, pool, member_no = COUPON_KEY.unpack(key)
        led = view.get("redemptions", key[: TENANT.size] + octets)
        if led is None or unpack(led)["pool"] != pool:
            place = f"tenant {tenant}, pool {pool}, member {member_no}"
            yield Problem(rule, place, f"leads to {U64.unpack(octets)[0]}, which is none of the pool")
    for key, octets in view.range("coupon_keys"):
        if view.get("redemptions", key[: TENANT.size] + octets) is None:
            yield Problem(rule, f"coupon key {key.hex()}", "names a redemption that is not there")


def campaigns_earned_what_stands(view: View) -> Iterator[Problem]:
    """`redeemed` has a row of each redemption that stands and has a campaign and a member, and of no other."""
    rule = "campaigns_earned_what_stands"
    for key, octets in view.range("redemptions"):
        row, held = unpack(octets), view.get("redeemed", key)
        place = "tenant {}, redemption {}".format(*TENANT_U64.unpack(key))
        told = None if held is None else REDEEMED.unpack(held)
        if told != (wanted := _earned(row)):
            yield Problem(rule, place, f"`redeemed` says {told}, the row {wanted}")
    for key, _ in view.range("redeemed"):
        if view.get("redemptions", key) is None:
            yield Problem(rule, "tenant {}, redemption {}".format(*TENANT_U64.unpack(key)), "has no row")


def _earned(row: dict[str, Any]) -> tuple[int, int, int, int] | None:
    if row["undone"] is not None or row["campaign"] is None or row["member_no"] is None:
        return None
    return row["at_ms"], row["sent_to"], 0, row["campaign"]


def _standing(view: View, tenant: int, pool: int, member_no: int) -> int | None:
    octets = view.get("coupons", COUPON_KEY.pack(tenant, pool, member_no))
    redemption = None if octets is None else U64.unpack(octets)[0]
    while redemption is not None:
        held = view.get("redemptions", TENANT_U64.pack(tenant, redemption))
        if held is None:
            return None
        row = unpack(held)
        if row["undone"] is None and row["member_no"] == member_no:  # a merge may have put another's over it
            return int(redemption)
        redemption = row["before"].get(member_no)
    return None


CHECKS: list[Check] = [coupon_pools_add_up, coupons_are_redeemed_once, campaigns_earned_what_stands]
