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


def coupons_add_up(view: View) -> Iterator[Problem]:
    """Of each redemption that stands: it is the only one of its member, and `redeemed` says which campaign earned it. A
    pool's counters are the rows that stand. Whatever leads to a redemption finds one."""
    rule = "coupons_add_up"
    stand: Counter[tuple[int, int, str]] = Counter()
    for key, octets in view.range("redemptions"):
        (tenant, redemption), row = TENANT_U64.unpack(key), unpack(octets)
        place = f"tenant {tenant}, redemption {redemption}"
        if row["undone"] is None:
            stand[tenant, row["pool"], row["kind"]] += 1
            if row["member_no"] is not None and _standing(view, tenant, row["pool"], row["member_no"]) != redemption:
                yield Problem(rule, place, f"is not what stands of member {row['member_no']}")
        held = view.get("redeemed", key)
        told = None if held is None else REDEEMED.unpack(held)
        if told != (wanted := _earned(row)):
            yield Problem(rule, place, f"`redeemed` says {told}, the row {wanted}")
    yield from _pools(view, rule, stand)
    for table, names in (("redeemed", "a redemption"), ("coupons", "the newest"), ("coupon_keys", "a redeeming")):
        for key, octets in view.range(table):
            to = key if table == "redeemed" else key[: TENANT.size] + octets
            if view.get("redemptions", to) is None:
                yield Problem(rule, f"{table} {key.hex()}", f"leads to {names} that is not there")


def _pools(view: View, rule: str, stand: Counter[tuple[int, int, str]]) -> Iterator[Problem]:
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


CHECKS: list[Check] = [coupons_add_up]
