"""Coupon pools: what a code is worth, from when to when, how many times. The codes themselves take no row (code.py).

Touches: rows of `coupon_pools` and `coupon_campaigns`, through a view; time is an argument.

    coupon_pools: tenant:2 pool:8 -> {name, value, key: 16 octets, state: open | closed, valid_from_ms, valid_until_ms,
      stock, redeemed, void, version, created_ms}

`redeemed` and `void` count the rows of `redemptions` that say so and were not undone (redeem.py). The key is shown to
nobody and never changes: codes that were sent go on to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dispatcher.clock import rfc3339
from dispatcher.control.commands import (
    CloseCouponPool,
    CreateCouponPool,
    EditCouponPool,
    Envelope,
    OpenCouponPool,
)
from dispatcher.coupons.code import KEY_OCTETS
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.records.states import CampaignState
from dispatcher.store.ids import next_id
from dispatcher.store.layout import COUPON_CAMPAIGN_KEY, TENANT, TENANT_U64
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant

PREFIX = "cpl"
OPEN, CLOSED = "open", "closed"
POOLS_MAX = 1_000  # of a tenant: an unknown code is tried under the key of each, some 7 us
NAME_CHARACTERS, VALUE_CHARACTERS = 100, 100
STOCK_MAX = 1 << 32
TIME_MAX_MS = 1 << 47  # as far as ids reach (records/keys.py)
_GOING = frozenset(CampaignState) - {CampaignState.DRAFT, CampaignState.DONE, CampaignState.CANCELLED}
EDITABLE = ("name", "value", "valid_from_ms", "valid_until_ms", "stock")

Row = dict[str, Any]


def create_pool(view: View, command: CreateCouponPool, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """An open pool. Raises CommandRefused 422 naming every field that is wrong, 409 duplicate_name, limit_reached."""
    tenant = need_tenant(view, envelope.tenant).number
    row: Row = {
        "name": command.title,
        "value": command.value,
        "valid_from_ms": command.valid_from_ms,
        "valid_until_ms": command.valid_until_ms,
        "stock": command.stock,
    }
    _check(row)
    if len(command.key) != KEY_OCTETS:
        raise CommandRefused(422, "invalid_value", f"key: {KEY_OCTETS} random octets")
    held = dict(pools_of(view, tenant))
    if len(held) >= POOLS_MAX:
        raise CommandRefused(409, "limit_reached", f"a tenant has at most {POOLS_MAX:,} coupon pools")
    _refuse_taken(held, row["name"])
    changes = Changes()
    pool = next_id(changes, view, envelope.at_ms)
    row |= {"key": command.key, "state": OPEN, "redeemed": 0, "void": 0, "version": 1, "created_ms": envelope.at_ms}
    changes.put("coupon_pools", TENANT_U64.pack(tenant, pool), pack(row))
    return changes, pool_json(pool, row)


def edit_pool(view: View, command: EditCouponPool, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """What is redeemed keeps the value it had. 412 when the pool is not at the version that the envelope names."""
    row = need_pool(view, envelope.tenant, command.pool)
    _hold_version(row, envelope)
    if unknown := [name for name in command.changes if name not in EDITABLE]:
        errors = [_problem(name, f"one of {', '.join(EDITABLE)}", "unknown") for name in unknown]
        raise CommandRefused(422, "invalid_value", f"no such part of a coupon pool: {unknown[0]!r}", errors=errors)
    edited = row | command.changes
    _check(edited)
    if edited["stock"] is not None and edited["stock"] < row["redeemed"]:
        detail = f"stock {edited['stock']:,}: {row['redeemed']:,} of it are redeemed already"
        raise CommandRefused(422, "invalid_value", detail, errors=[_problem("stock", detail)])
    if edited["name"] != row["name"]:
        others = {pool: one for pool, one in pools_of(view, envelope.tenant) if pool != command.pool}
        _refuse_taken(others, edited["name"])
    return _saved(envelope.tenant, command.pool, row, edited)


def close_pool(view: View, command: CloseCouponPool, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Its codes are answered coupon_pool_closed. `campaigns`: those that may still send some. Repeating it changes
    nothing."""
    changes, reply = _turned(view, command.pool, envelope, CLOSED)
    named = campaigns_of(view, envelope.tenant, command.pool)
    return changes, reply | {"campaigns": [public_id("cmp", one) for one in named if _goes(view, envelope.tenant, one)]}


def open_pool(view: View, command: OpenCouponPool, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    return _turned(view, command.pool, envelope, OPEN)


def need_pool(view: View, tenant: int, pool: int) -> Row:
    """Raises CommandRefused 404 where this tenant has no such pool."""
    octets = view.get("coupon_pools", TENANT_U64.pack(tenant, pool))
    if octets is None:
        raise CommandRefused(404, "not_found", f"no coupon pool {public_id(PREFIX, pool)}")
    return unpack(octets)


def pools_of(view: View, tenant: int) -> Iterator[tuple[int, Row]]:
    """A tenant's pools, newest first."""
    for key, octets in view.range("coupon_pools", TENANT.pack(tenant), reverse=True):
        yield TENANT_U64.unpack(key)[1], unpack(octets)


def find_pool(view: View, tenant: int, text: str) -> int | None:
    """The pool that has this public id or this name."""
    number = parse_public_id(PREFIX, text)
    if number is not None and view.get("coupon_pools", TENANT_U64.pack(tenant, number)) is not None:
        return number
    return next((pool for pool, row in pools_of(view, tenant) if row["name"].casefold() == text.casefold()), None)


def left(row: Row) -> int | None:
    """How many may still be redeemed; None: no stock was named."""
    return None if row["stock"] is None else max(0, int(row["stock"]) - int(row["redeemed"]))


def refusal(row: Row, at_ms: int) -> CommandRefused | None:
    """Why nothing of the pool can be redeemed at an instant; None: it can."""
    name = row["name"]
    if row["state"] != OPEN:
        return CommandRefused(409, "coupon_pool_closed", f"coupons of {name!r} are no longer taken: the pool is closed")
    if row["valid_from_ms"] is not None and at_ms < row["valid_from_ms"]:
        when = rfc3339(row["valid_from_ms"])
        return CommandRefused(409, "coupon_not_yet", f"it is valid from {when}", extra={"valid_from": when})
    if row["valid_until_ms"] is not None and at_ms >= row["valid_until_ms"]:
        when = rfc3339(row["valid_until_ms"])
        return CommandRefused(409, "coupon_expired", f"it was valid until {when}", extra={"valid_until": when})
    if left(row) == 0:
        detail = f"all {row['stock']:,} of {name!r} are redeemed"
        return CommandRefused(409, "out_of_stock", detail, extra={"stock": row["stock"]})
    return None


def note_campaign(changes: Changes, tenant: int, pool: int, campaign: int) -> None:
    """Remember that the campaign's texts may hold codes of the pool: redeeming looks there for who was sent one."""
    changes.put("coupon_campaigns", COUPON_CAMPAIGN_KEY.pack(tenant, pool, campaign), b"")


def campaigns_of(view: View, tenant: int, pool: int) -> list[int]:
    """Campaigns that named the pool at any time, newest first."""
    rows = view.range("coupon_campaigns", TENANT_U64.pack(tenant, pool), reverse=True)
    return [COUPON_CAMPAIGN_KEY.unpack(key)[2] for key, _ in rows]


def put_pool(changes: Changes, tenant: int, pool: int, row: Row) -> None:
    changes.put("coupon_pools", TENANT_U64.pack(tenant, pool), pack(row))


def pool_json(pool: int, row: Row) -> dict[str, Any]:
    """The row as the API shows it, without its key."""
    return {
        "id": public_id(PREFIX, pool),
        "name": row["name"],
        "value": row["value"],
        "state": row["state"],
        "valid_from": rfc3339(row["valid_from_ms"]),
        "valid_until": rfc3339(row["valid_until_ms"]),
        "stock": row["stock"],
        "redeemed": row["redeemed"],
        "void": row["void"],
        "left": left(row),
        "version": row["version"],
        "created_at": rfc3339(row["created_ms"]),
    }


def _turned(view: View, pool: int, envelope: Envelope, state: str) -> tuple[Changes, dict[str, Any]]:
    row = need_pool(view, envelope.tenant, pool)
    _hold_version(row, envelope)
    return _saved(envelope.tenant, pool, row, row | {"state": state})


def _saved(tenant: int, pool: int, row: Row, edited: Row) -> tuple[Changes, dict[str, Any]]:
    changes = Changes()
    if edited != row:
        edited["version"] += 1
        put_pool(changes, tenant, pool, edited)
    return changes, pool_json(pool, edited)


def _goes(view: View, tenant: int, campaign: int) -> bool:
    """Whether it has started or is due, and is not over."""
    octets = view.get("campaigns", TENANT_U64.pack(tenant, campaign))
    return octets is not None and unpack(octets)["state"] in _GOING


def _hold_version(row: Row, envelope: Envelope) -> None:
    if envelope.version not in (None, row["version"]):
        detail = f"the coupon pool is at version {row['version']}, not {envelope.version}: read it again"
        raise CommandRefused(412, "version_changed", detail)


def _refuse_taken(held: dict[int, Row], name: str) -> None:
    for pool, row in held.items():
        if row["name"].casefold() == name.casefold():
            detail = f"the name {name!r} is that of {public_id(PREFIX, pool)}"
            raise CommandRefused(409, "duplicate_name", detail, extra={"id": public_id(PREFIX, pool)})


def _check(row: Row) -> None:
    errors = [_problem(name, f"{name}: {rule}") for name, rule, holds in _RULES if not holds(row[name])]
    begin, end = row["valid_from_ms"], row["valid_until_ms"]
    if not errors and begin is not None and end is not None and begin >= end:
        errors = [_problem("valid_until_ms", "valid_until: later than valid_from")]
    if errors:
        raise CommandRefused(422, "invalid_value", "; ".join(error["detail"] for error in errors), errors=errors)


def _problem(name: str, detail: str, code: str = "wrong_value") -> dict[str, str]:
    return {"pointer": f"/{name.removesuffix('_ms')}", "code": code, "detail": detail}


def _is_text(value: Any, characters: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= characters and value == value.strip() and value.isprintable()


def _is_whole(value: Any, least: int, most: int) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most)


_RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("name", f"1 to {NAME_CHARACTERS} printable characters, no blanks around", lambda v: _is_text(v, NAME_CHARACTERS)),
    ("value", f"for the till, 1 to {VALUE_CHARACTERS} printable characters", lambda v: _is_text(v, VALUE_CHARACTERS)),
    ("valid_from_ms", "an instant, or null", lambda v: _is_whole(v, 0, TIME_MAX_MS)),
    ("valid_until_ms", "an instant, or null", lambda v: _is_whole(v, 0, TIME_MAX_MS)),
    ("stock", f"a whole number from 0 to {STOCK_MAX:,}, or null", lambda v: _is_whole(v, 0, STOCK_MAX)),
)
