"""Usage by month, the ledger of credit, what is left of a plan, and prices.

Touches: rows of `usage`, `money` and `prices` through campaigns/{usage,money,price}; commands money.top_up, prices.set.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from admin.answers import After, Answer, Body, Limit, Page, Reading, page
from admin.asking import Asking, AskingOnce
from admin.auth import Caller, may
from admin.reads import cursor_of, key_of
from dispatcher.campaigns.money import entries, entry_json, quotas_json
from dispatcher.campaigns.price import prices_json
from dispatcher.campaigns.usage import month_of, usage_json
from dispatcher.control.commands import SetPrices, TopUp
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import View
from dispatcher.store.layout import U64
from dispatcher.tenants.tenant import need_tenant

router = APIRouter(prefix="/v1", tags=["usage and money"])
_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


class TopUpBody(Body):
    micros: Annotated[
        int, Field(ge=-(1 << 53), le=1 << 53, description="micro-units of the tenant's currency; below 0: taken back")
    ]
    reason: Annotated[str, Field(max_length=500)] = ""


class PricesBody(Body):
    prices: Annotated[
        dict[Annotated[str, Field(max_length=80)], int | None],
        Field(
            min_length=1,
            max_length=5_000,
            description="prefix of digits (empty: all others), or endpoint:prefix, to micro-units a part",
        ),
    ]


class EntryAnswer(Answer):
    id: str
    kind: str
    micros: int
    balance: int


class UsageAnswer(Answer):
    month: str
    messages: int
    parts: int
    billed: int
    micros: int


@router.get("/usage", response_model=UsageAnswer)
async def get_usage(
    request: Request,
    caller: Annotated[Caller, may("campaigns:read")],
    reads: Reading,
    month: Annotated[str | None, Query(max_length=7, description="as 2026-11; this one unless given")] = None,
) -> dict[str, Any]:
    """A month's messages, parts and money, by campaign; what still runs is in with what it reserved."""
    match = _MONTH.fullmatch(month or "")
    if month is not None and match is None:
        raise CommandRefused(422, "invalid_value", f"month {month!r}: a month such as 2026-11")
    now_ms = request.app.state.clock.epoch_ms()

    def read(view: View) -> dict[str, Any]:
        zone = need_tenant(view, caller.tenant).zone
        asked = 12 * int(match[1]) + int(match[2]) - 1 if match else month_of(now_ms, zone)
        return usage_json(view, caller.tenant, asked)

    return await reads.scan(read)


@router.get("/quotas", response_model=Answer)
async def get_quotas(
    request: Request, caller: Annotated[Caller, may("campaigns:read")], reads: Reading
) -> dict[str, Any]:
    """The tenant's plan, and what of it is left this month."""
    now_ms = request.app.state.clock.epoch_ms()
    return await reads.scan(lambda view: quotas_json(view, need_tenant(view, caller.tenant), now_ms))


@router.get("/ledger", response_model=Page[EntryAnswer])
async def list_entries(
    caller: Annotated[Caller, may("campaigns:read")], reads: Reading, limit: Limit, after: After = None
) -> dict[str, Any]:
    """Entries of the tenant's credit, the newest first; each with the balance after it."""
    key = key_of(after, U64.size)
    before = None if key is None else U64.unpack(key)[0]
    rows = await reads.scan(entries, caller.tenant, before, limit + 1)
    cursor = cursor_of(U64.pack(rows[min(limit, len(rows)) - 1][0])) if rows else None
    return page([entry_json(number, row) for number, row in rows], limit, cursor)


@router.post("/ledger", status_code=201, response_model=EntryAnswer)
async def top_up(
    body: TopUpBody, ask: AskingOnce, caller: Annotated[Caller, may("tenants:write", operator=True)]
) -> dict[str, Any]:
    """Credit for the tenant in X-Tenant. 409 insufficient_credit when more is taken back than there is."""
    return await ask(caller, TopUp(micros=body.micros, why=body.reason), reason=body.reason)


@router.get("/prices", response_model=Answer)
async def get_prices(caller: Annotated[Caller, may("campaigns:read", tenant=False)], reads: Reading) -> dict[str, Any]:
    """The tenant's own prices and the operator's that hold beside them: the longest prefix of a number counts."""
    return await reads.scan(prices_json, caller.tenant)


@router.post("/prices", response_model=Answer)
async def set_prices(
    body: PricesBody, ask: Asking, caller: Annotated[Caller, may("tenants:write", tenant=False, operator=True)]
) -> dict[str, Any]:
    """Of the tenant in X-Tenant, or without it of everybody who has no price of their own."""
    return await ask(caller, SetPrices(prices=body.prices))
