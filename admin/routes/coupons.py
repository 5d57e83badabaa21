"""Coupon pools, codes, and what the till does with them.

Touches: rows of pools and redemptions through coupons/pool and apps/coupons; commands coupon_pool.* and coupon.*. A
till's key has the scope coupons:redeem alone, which opens :redeem and nothing else.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Body as Example
from pydantic import AwareDatetime, Field

from admin.answers import INT64_MAX, After, Answer, Body, Limit, Page, Reading, page
from admin.asking import Ask, Asking, AskingOnce
from admin.auth import Caller, may, parsed
from admin.misses import Misses
from admin.reads import cursor_of, key_of
from admin.routes.campaigns import tagged, version_of
from admin.routes.members import member_no_of
from dispatcher.apps.coupons import Wanted, redemption_log, show_coupon
from dispatcher.control.commands import (
    CloseCouponPool,
    CreateCouponPool,
    EditCouponPool,
    IssueCoupon,
    OpenCouponPool,
    RedeemCoupon,
    UndoCoupon,
    VoidCoupon,
)
from dispatcher.coupons.pool import (
    NAME_CHARACTERS,
    PREFIX,
    STOCK_MAX,
    VALUE_CHARACTERS,
    need_pool,
    pool_json,
    pools_of,
)
from dispatcher.coupons.redeem import AMOUNT_MAX, REASON_CHARACTERS, REFERENCE_CHARACTERS, SHOP_CHARACTERS
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import View
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.store.layout import U64

router = APIRouter(prefix="/v1", tags=["coupons"])

Reason = Annotated[str, Field(max_length=REASON_CHARACTERS, description="kept in the audit")]
IfMatch = Annotated[str | None, Header(max_length=100, description="412 unless it is the pool's ETag still")]
Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS)]
Value = Annotated[str, Field(min_length=1, max_length=VALUE_CHARACTERS, description="what the till reads")]
Stock = Annotated[int, Field(ge=0, le=STOCK_MAX, description="how many may be redeemed; null: no limit")]
Code = Annotated[
    str, Field(min_length=1, max_length=40, description="12 characters; case, blanks and hyphens do not matter")
]

_POOL = {"spring": {"summary": "A free cake in March, for the first 500", "value": {
    "name": "Spring cake", "value": "one slice of cake, free", "valid_from": "2026-03-01T00:00:00+01:00",
    "valid_until": "2026-04-01T00:00:00+02:00", "stock": 500}}}  # fmt: skip
_TILL = {"till": {"summary": "What a till sends, with an Idempotency-Key of its receipt", "value": {
    "code": "7H2K-9QXM-4TRD", "shop": "Mitte", "reference": "1032-77", "amount_micros": 12_500_000}}}  # fmt: skip
_STAFF = {"staff": {"summary": "What staff say it for", "value": {
    "code": "7H2K9QXM4TRD", "reason": "taken twice by the till, receipt 1032-77"}}}  # fmt: skip


class PoolBody(Body):
    name: Name
    value: Value
    valid_from: AwareDatetime | None = None
    valid_until: Annotated[AwareDatetime | None, Field(description="from then on codes have expired")] = None
    stock: Stock | None = None


class PoolPatch(Body):
    name: Name | None = None
    value: Value | None = None
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None
    stock: Stock | None = None


class ReasonBody(Body):
    reason: Reason = ""


class IssueBody(Body):
    pool: Annotated[str, Field(max_length=40, description="`cpl_...`")]
    member: Annotated[str, Field(max_length=40, description="`mem_...`")]
    reason: Reason = ""


class RedeemBody(Body):
    code: Code
    shop: Annotated[str, Field(max_length=SHOP_CHARACTERS)] = ""
    reference: Annotated[str, Field(max_length=REFERENCE_CHARACTERS, description="the till's own")] = ""
    amount_micros: Annotated[
        int | None, Field(ge=0, le=AMOUNT_MAX, description="what was bought for, micro-units of the tenant's currency")
    ] = None


class CodeBody(Body):
    code: Code
    reason: Annotated[Reason, Field(min_length=1)]


class PoolAnswer(Answer):
    id: str
    name: str
    value: str
    state: Literal["open", "closed"]
    redeemed: int
    left: int | None
    version: int


class CouponAnswer(Answer):
    code: str
    state: Literal["unused", "redeemed", "void"]
    refusal: str | None = Field(description="the problem code that a redeeming would meet now")
    pool: str
    member: str


class RedemptionAnswer(Answer):
    id: str
    code: str | None = Field(description="null once its member is erased")
    state: Literal["redeemed", "void", "undone"]
    member: str | None
    pool: str
    value: str
    campaign: str | None = Field(
        description="the newest of the pool that was sent to the member; an archived one earns no more"
    )
    arm: str | None = None
    at: str


@router.post("/coupon_pools", status_code=201, response_model=PoolAnswer)
async def create_coupon_pool(
    body: Annotated[PoolBody, Example(openapi_examples=_POOL)],
    ask: Asking,
    caller: Annotated[Caller, may("coupons:write")],
) -> dict[str, Any]:
    """An open pool. A member's code in it is derived from a secret key that is shown to nobody."""
    command = CreateCouponPool(
        title=body.name,
        value=body.value,
        valid_from_ms=_ms(body.valid_from),
        valid_until_ms=_ms(body.valid_until),
        stock=body.stock,
    )
    return tagged(ask.response, await ask(caller, command))


@router.get("/coupon_pools", response_model=Page[PoolAnswer])
async def list_coupon_pools(
    caller: Annotated[Caller, may("coupons:read")], reads: Reading, limit: Limit, after: After = None
) -> dict[str, Any]:
    """The newest first."""
    key = key_of(after, U64.size)
    before = INT64_MAX if key is None else U64.unpack(key)[0]

    def read(view: View) -> dict[str, Any]:
        rows = [(pool, row) for pool, row in pools_of(view, caller.tenant) if pool < before][: limit + 1]
        cursor = cursor_of(U64.pack(rows[min(limit, len(rows)) - 1][0])) if rows else None
        return page([pool_json(pool, row) for pool, row in rows], limit, cursor)

    return await reads.scan(read)


@router.get("/coupon_pools/{pool}", response_model=PoolAnswer)
async def get_coupon_pool(
    pool: str, response: Response, caller: Annotated[Caller, may("coupons:read")], reads: Reading
) -> dict[str, Any]:
    number = parsed(PREFIX, pool)
    return tagged(response, pool_json(number, reads.now(need_pool, caller.tenant, number)))


@router.patch("/coupon_pools/{pool}", response_model=PoolAnswer)
async def edit_coupon_pool(
    pool: str,
    body: PoolPatch,
    ask: Asking,
    caller: Annotated[Caller, may("coupons:write")],
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Codes that were sent go on to hold; what is redeemed already keeps the value it had. 412 when If-Match is given
    and is not the pool's ETag any more."""
    changes: dict[str, Any] = {}
    for name in body.model_fields_set:
        value = getattr(body, name)
        if name in ("valid_from", "valid_until"):
            changes[f"{name}_ms"] = _ms(value)
        elif value is not None or name == "stock":
            changes[name] = value
    command = EditCouponPool(pool=parsed(PREFIX, pool), changes=changes)
    return tagged(ask.response, await ask(caller, command, version=version_of(if_match)))


@router.post("/coupon_pools/{pool}:close", response_model=PoolAnswer)
async def close_coupon_pool(
    pool: str,
    body: ReasonBody,
    ask: Asking,
    caller: Annotated[Caller, may("coupons:write")],
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Nothing of it is redeemed any more; `campaigns` names those that may still send codes of it."""
    command = CloseCouponPool(pool=parsed(PREFIX, pool))
    return tagged(ask.response, await ask(caller, command, reason=body.reason, version=version_of(if_match)))


@router.post("/coupon_pools/{pool}:open", response_model=PoolAnswer)
async def open_coupon_pool(
    pool: str,
    body: ReasonBody,
    ask: Asking,
    caller: Annotated[Caller, may("coupons:write")],
    if_match: IfMatch = None,
) -> dict[str, Any]:
    command = OpenCouponPool(pool=parsed(PREFIX, pool))
    return tagged(ask.response, await ask(caller, command, reason=body.reason, version=version_of(if_match)))


@router.get("/coupons", response_model=Page[RedemptionAnswer])
async def list_redemptions(
    caller: Annotated[Caller, may("coupons:read")],
    reads: Reading,
    limit: Limit,
    after: After = None,
    pool: Annotated[str | None, Query(max_length=40, description="only of this pool, `cpl_...`")] = None,
    campaign: Annotated[str | None, Query(max_length=40, description="only what this one earned, `cmp_...`")] = None,
    state: Annotated[Literal["redeemed", "void", "undone"] | None, Query(description="only in this state")] = None,
    shop: Annotated[str | None, Query(max_length=SHOP_CHARACTERS, description="only by this shop")] = None,
) -> dict[str, Any]:
    """The redemption log, the newest first: codes redeemed or made void, and what was taken back of it. With a filter a
    page may be short, or empty, and `next` go on all the same."""
    wanted = Wanted(
        pool=None if pool is None else parsed(PREFIX, pool),
        campaign=None if campaign is None else parsed("cmp", campaign),
        state=state,
        shop=shop,
    )
    key = key_of(after, U64.size)
    before = None if key is None else U64.unpack(key)[0]
    rows, last = await reads.scan(redemption_log, caller.tenant, wanted, before=before, limit=limit)
    return {"data": rows, "next": None if last is None else cursor_of(U64.pack(last))}


@router.get("/coupons/{code}", response_model=CouponAnswer)
async def get_coupon(
    request: Request,
    code: Code,
    caller: Annotated[Caller, may("coupons:read")],
    reads: Reading,
) -> dict[str, Any]:
    """A code as it is now. 404 coupon_unknown for one that is nobody's, which is counted."""
    now_ms = request.app.state.clock.epoch_ms()
    with _misses(request).counted(caller.key.id, now_ms):
        return await reads.scan(show_coupon, caller.tenant, code, now_ms)


@router.post("/coupons:issue", response_model=CouponAnswer)
async def issue_coupon(body: IssueBody, ask: Asking, caller: Annotated[Caller, may("coupons:write")]) -> dict[str, Any]:
    """A member's code, for staff to read out: the same as in any text. Who asked is in the audit."""
    pool = parse_public_id(PREFIX, body.pool)
    if pool is None:
        raise CommandRefused(404, "not_found", f"no coupon pool {body.pool[:40]!r}: ids look as {public_id(PREFIX, 0)}")
    return await ask(caller, IssueCoupon(pool=pool, member_no=member_no_of(body.member)), reason=body.reason)


@router.post("/coupons:redeem", status_code=201, response_model=RedemptionAnswer)
async def redeem_coupon(
    body: Annotated[RedeemBody, Example(openapi_examples=_TILL)],
    ask: AskingOnce,
    caller: Annotated[Caller, may("coupons:redeem")],
) -> dict[str, Any]:
    """Once a person and pool. The Idempotency-Key names the till's own event and is kept for ever: the same again
    answers 200 with the first redeeming.

    404 coupon_unknown; 409 coupon_redeemed (with when and where), coupon_void, coupon_pool_closed, coupon_not_yet,
    coupon_expired, out_of_stock; 429 too_many_misses after 100 unknown codes of one key in ten minutes."""
    command = RedeemCoupon(key=ask.request_key, **body.model_dump())
    reply = await _counted(ask, caller, command)
    if reply.get("repeated"):
        ask.response.status_code = 200
    return reply


@router.post("/coupons:void", response_model=RedemptionAnswer)
async def void_coupon(
    body: Annotated[CodeBody, Example(openapi_examples=_STAFF)],
    ask: Asking,
    caller: Annotated[Caller, may("coupons:write")],
) -> dict[str, Any]:
    """The code can no more be redeemed. 409 coupon_redeemed where it was: take that back first."""
    return await _counted(ask, caller, VoidCoupon(code=body.code), body.reason)


@router.post("/coupons:undo", response_model=RedemptionAnswer)
async def undo_coupon(
    body: Annotated[CodeBody, Example(openapi_examples=_STAFF)],
    ask: Asking,
    caller: Annotated[Caller, may("coupons:write")],
) -> dict[str, Any]:
    """Take back a redeeming, or a void: the code is as it was before."""
    return await _counted(ask, caller, UndoCoupon(code=body.code), body.reason)


async def _counted(ask: Ask, caller: Caller, command: Any, reason: str = "") -> dict[str, Any]:
    now_ms = ask.request.app.state.clock.epoch_ms()
    with _misses(ask.request).counted(caller.key.id, now_ms):
        return await ask(caller, command, reason=reason)


def _misses(request: Request) -> Misses:
    misses: Misses = request.app.state.misses
    return misses


def _ms(moment: Any) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1_000)
