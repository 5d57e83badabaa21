"""Coupons with what only the campaigns know of them: whose arm's text a redeemed code came with.

Touches: what coupons/redeem.py touches, and the deals of campaigns (campaigns/arms.py), which say the arm: it is stored
nowhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dispatcher.campaigns.arms import Arms, arms_of
from dispatcher.campaigns.campaign import load
from dispatcher.control.commands import Envelope, RedeemCoupon, UndoCoupon, VoidCoupon
from dispatcher.coupons import redeem
from dispatcher.coupons.pool import pools_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import parse_public_id
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.values import unpack

LOOKED_AT = 10_000  # rows a page of the log may pass over: some 60 ms

Row = dict[str, Any]
Done = tuple[Changes, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Of the log's rows those of a pool, a campaign, a state (redeemed, void, undone), a shop; None: all."""

    pool: int | None = None
    campaign: int | None = None
    state: str | None = None
    shop: str | None = None

    def __contains__(self, row: Row) -> bool:
        state = redeem.UNDONE if row["undone"] else row["kind"]
        told = (row["pool"], row["campaign"], state, row["shop"])
        asked = (self.pool, self.campaign, self.state, self.shop)
        return all(want in (None, has) for want, has in zip(asked, told, strict=True))


def redeem_coupon(view: View, command: RedeemCoupon, envelope: Envelope) -> Done:
    """As redeem.redeem, with the arm."""
    return _with_arm(view, envelope, *redeem.redeem(view, command, envelope))


def void_coupon(view: View, command: VoidCoupon, envelope: Envelope) -> Done:
    return _with_arm(view, envelope, *redeem.void(view, command, envelope))


def undo_coupon(view: View, command: UndoCoupon, envelope: Envelope) -> Done:
    return _with_arm(view, envelope, *redeem.undo(view, command, envelope))


def show_coupon(view: View, tenant: int, code: str, at_ms: int) -> dict[str, Any]:
    """A code as it is now. Raises CommandRefused 404 coupon_unknown."""
    found = redeem.coupon_json(view, tenant, code, at_ms)
    if found["redemption"] is not None:
        row = redeem.need_redemption(view, tenant, _number(found["redemption"]))
        found["redemption"] |= {"arm": _arm(view, tenant, row, {})}
    return found


def redemption_log(
    view: View, tenant: int, wanted: Wanted, *, before: int | None = None, limit: int = 50
) -> tuple[list[dict[str, Any]], int | None]:
    """(up to `limit` redemptions and voids, newest first and older than `before`; where to go on, None at the end). It
    passes over LOOKED_AT rows at most: a page may be short, or empty."""
    after = None if before is None else TENANT_U64.pack(tenant, before)
    pools, arms = dict(pools_of(view, tenant)), dict[int, Arms | None]()
    found: list[dict[str, Any]] = []
    redemption = None
    for looked, (key, octets) in enumerate(view.range("redemptions", TENANT.pack(tenant), after=after, reverse=True)):
        if len(found) == limit or looked == LOOKED_AT:
            return found, redemption
        redemption, row = TENANT_U64.unpack(key)[1], unpack(octets)
        if row in wanted:
            shown = redeem.redemption_json(view, tenant, redemption, row, pools[row["pool"]])
            found.append(shown | {"arm": _arm(view, tenant, row, arms)})
    return found, None


def redemptions_of(view: View, tenant: int, members: list[int]) -> Iterator[dict[str, Any]]:
    """All that happened to the coupons of a person, who may be several members, newest first."""
    pools, arms = dict(pools_of(view, tenant)), dict[int, Arms | None]()
    rows = dict(
        itertools.chain.from_iterable(redeem.history(view, tenant, pool, no) for pool in pools for no in members)
    )
    for redemption in sorted(rows, reverse=True):
        row = rows[redemption]
        shown = redeem.redemption_json(view, tenant, redemption, row, pools[row["pool"]])
        yield {**shown, "arm": _arm(view, tenant, row, arms), "at_ms": row["at_ms"]}


def _with_arm(view: View, envelope: Envelope, changes: Changes, reply: dict[str, Any]) -> Done:
    redemption = _number(reply)
    held = changes.rows.get(("redemptions", TENANT_U64.pack(envelope.tenant, redemption)))
    row = unpack(bytes(held)) if held is not None else redeem.need_redemption(view, envelope.tenant, redemption)
    return changes, reply | {"arm": _arm(view, envelope.tenant, row, {})}


def _arm(view: View, tenant: int, row: Row, known: dict[int, Arms | None]) -> str | None:
    """The name of the arm whose text brought the code; None where no campaign did, or one of a single text."""
    campaign, member_no = row["campaign"], row["sent_to"]
    if campaign is None or member_no is None:
        return None
    if campaign not in known:
        of = load(view, tenant, campaign)
        known[campaign] = arms_of(of, campaign) if of and of["arms"] else None
    arms = known[campaign]
    if arms is None:
        return None
    group = arms.group_of(view, member_no)
    if group > len(arms.names) and arms.won is not None:  # of the rest, who were sent the winner's
        group = arms.won + 1
    return arms.word(group)


def _number(shown: dict[str, Any]) -> int:
    number = parse_public_id(redeem.ID, shown["id"])
    assert number is not None
    return number
