"""The coupon pool that a campaign names: which one, whether its codes hold as long as the campaign sends, its key.

Touches: rows of `coupon_pools` and `fields`, through a view; time is an argument. Rests on: coupons/pool.py.
The key is asked for by the claim alone (expand.py). A preview, a test and a rehearsal render without it and show X.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from dispatcher.campaigns.states import conflict
from dispatcher.campaigns.template import COUPON_NAME, Template
from dispatcher.clock import rfc3339
from dispatcher.coupons.pool import OPEN, find_pool, left, need_pool, pool_json, pools_of
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import fields_of
from dispatcher.records.changes import View

Row = dict[str, Any]


def pool_number(view: View, tenant: int, asked: Any) -> int | None:
    """The pool of a public id, a name or its number; None and "" are none. Raises CommandRefused 422: not one of the
    tenant's, or the tenant has a field `coupon`."""
    if asked is None or asked == "":
        return None
    if not isinstance(asked, int | str) or isinstance(asked, bool):
        raise _refused("invalid_campaign", "coupon_pool: the id or the name of a pool, or null")
    number = asked if isinstance(asked, int) else find_pool(view, tenant, asked)
    if number is None:
        names = [row["name"] for _, row in pools_of(view, tenant)]
        near = next(iter(difflib.get_close_matches(str(asked), names, 1, 0.5)), None)
        hint = f"; did you mean {near!r}?" if near else ""
        raise _refused("unknown_coupon_pool", f"there is no coupon pool {str(asked)[:100]!r}{hint}", did_you_mean=near)
    need_pool(view, tenant, number)
    _refuse_own_field(view, tenant)
    return number


def hold_pool(view: View, tenant: int, row: Row, begins_ms: int, lasts_ms: int = 0) -> Row | None:
    """The campaign's pool, where its codes hold from the first message to the last; None where it names none.

    Raises CommandRefused 409 coupon_pool_closed, coupon_expired; 422 as pool_number.
    """
    if row["coupon_pool"] is None:
        return None
    _refuse_own_field(view, tenant)
    pool = need_pool(view, tenant, row["coupon_pool"])
    name, end_ms = pool["name"], pool["valid_until_ms"]
    if pool["state"] != OPEN:
        what = "open it (`volley coupon pool open`) or name another"
        raise conflict(f"the coupon pool {name!r} is closed: {what}", "coupon_pool_closed")
    if end_ms is not None and begins_ms + lasts_ms >= end_ms:
        detail = f"coupons of {name!r} are valid until {rfc3339(end_ms)}, and the campaign sends until"
        what = "let them be valid longer, or send sooner"
        raise conflict(f"{detail} {rfc3339(begins_ms + lasts_ms)}: {what}", "coupon_expired")
    return pool


def seen_of(pool: Row | None, lasts_ms: int) -> Row | None:
    """What of the pool a preview keeps, for hold_previewed."""
    return None if pool is None else {"value": pool["value"], "lasts_ms": lasts_ms}


def hold_previewed(view: View, tenant: int, row: Row, begins_ms: int, what: str = "preview again") -> None:
    """As hold_pool, and a coupon must be worth what the preview showed: 409 state_conflict, with `what` to do then."""
    seen = row["preview"].get("coupon") or {"value": None, "lasts_ms": 0}
    pool = hold_pool(view, tenant, row, begins_ms, seen["lasts_ms"])
    if pool is not None and pool["value"] != seen["value"]:
        worth = f"{pool['value']!r} instead of {seen['value']!r}"
        detail = f"since the preview a coupon of {pool['name']!r} is worth {worth}: {what}"
        raise conflict(detail, changed=["coupon_pool"])


def said_of(row: Row, pool: Row | None) -> Row | None:
    """The pool as a preview shows it."""
    return None if pool is None else pool_json(row["coupon_pool"], pool)


def pool_warnings(
    pool: Row | None, templates: Sequence[Template], will_send: int, begins_ms: int
) -> Iterator[str]:  # fmt: skip
    if pool is None:
        return
    name, rest, from_ms = pool["name"], left(pool), pool["valid_from_ms"]
    if from_ms is not None and begins_ms < from_ms:  # an announcement
        yield f"Coupons of {name!r} are valid from {rfc3339(from_ms)}, later than they are sent: say so in the text."
    if not any(template.has_coupon for template in templates):
        yield f"No text has {{{COUPON_NAME}}}: nobody would be told a code of the coupon pool {name!r}."
    if rest is not None and rest < will_send:
        yield f"The coupon pool {name!r} has {rest:,} coupons left for {will_send:,} messages: the last get none."


def key_of(view: View, tenant: int, row: Row) -> bytes | None:
    """What a claim renders codes with; None: without a pool, and in the store of a rehearsal."""
    return None if row["coupon_pool"] is None else need_pool(view, tenant, row["coupon_pool"])["key"] or None


def _refuse_own_field(view: View, tenant: int) -> None:
    if COUPON_NAME in fields_of(view, tenant):
        detail = f"{{{COUPON_NAME}}} would be both the tenant's field of this name and a code of the pool"
        raise _refused("coupon_field", f"{detail}: rename the field, or name no pool")


def _refused(code: str, detail: str, **extra: Any) -> CommandRefused:
    errors = [{"pointer": "/coupon_pool", "code": code, "detail": detail}]
    return CommandRefused(422, code, detail, errors=errors, extra=extra)
