"""A shop with members, pools, campaigns that brought their codes, and tills that redeem them."""

from __future__ import annotations

from typing import Any

from dispatcher.apps.coupons import redeem_coupon, undo_coupon, void_coupon
from dispatcher.control.commands import (
    CreateCouponPool,
    Envelope,
    RedeemCoupon,
    UndoCoupon,
    VoidCoupon,
)
from dispatcher.coupons.code import code_of
from dispatcher.coupons.pool import create_pool, need_pool
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.store import Store
from dispatcher.store.verify import find_problems
from tests.campaigns.log import claim, log
from tests.fakes.shop import NOW_MS, do
from tests.segments.sends import started

KEY = bytes(range(16))
FIRST = 4915100000001


def new_pool(store: Store, name: str = "Spring", *, tenant: int = 1, key: bytes = KEY, **limits: Any) -> int:
    command = CreateCouponPool(title=name, value=f"{name} cake", key=key, **limits)
    return number(do(store, create_pool, command, tenant=tenant)["id"])


def sent_with(store: Store, pool: int, title: str, decisions: list[Any], at_ms: int = NOW_MS) -> int:
    """A campaign to everybody whose texts hold codes of the pool; `decisions` by rank, as tests/campaigns/log.py."""
    campaign = started(store, title, at_ms=at_ms, text="Hi {coupon}", coupon_pool=public_id("cpl", pool))
    if decisions:
        log(store, campaign, at_ms, claim(0, decisions))
    return campaign


def code(store: Store, pool: int, member_no: int, tenant: int = 1) -> str:
    with store.snapshot() as view:
        return code_of(need_pool(view, tenant, pool)["key"], member_no)


def redeemed(store: Store, text: str, key: str = "", *, at_ms: int = NOW_MS, tenant: int = 1, **more: Any) -> Any:
    """The answer to a till."""
    return do(store, redeem_coupon, RedeemCoupon(code=text, key=key or text, **more), at_ms=at_ms, tenant=tenant)


def why_not(store: Store, text: str, key: str = "again", *, at_ms: int = NOW_MS, tenant: int = 1) -> CommandRefused:
    """The refusal that a till must meet."""
    try:
        redeemed(store, text, key, at_ms=at_ms, tenant=tenant)
    except CommandRefused as exc:
        return exc
    raise AssertionError(f"{text} was redeemed")


def undone(store: Store, text: str, *, at_ms: int = NOW_MS) -> Any:
    return said(store, undo_coupon, UndoCoupon(code=text), at_ms)


def voided(store: Store, text: str, *, at_ms: int = NOW_MS) -> Any:
    return said(store, void_coupon, VoidCoupon(code=text), at_ms)


def said(store: Store, handler: Any, command: Any, at_ms: int = NOW_MS, reason: str = "by hand") -> Any:
    """A person's command, with its reason."""
    with store.begin_write() as view:
        changes, reply = handler(view, command, Envelope(tenant=1, actor="staff", at_ms=at_ms, reason=reason))
        view.apply(changes)
    return reply


def problems(store: Store) -> list[str]:
    with store.snapshot() as view:
        return [str(problem) for problem in find_problems(view)]


def number(public: str) -> int:
    found = parse_public_id(public.partition("_")[0], public)
    assert found is not None, public
    return found
