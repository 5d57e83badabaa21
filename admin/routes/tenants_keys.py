"""Tenants (the operator's) and keys.

Touches: rows of `tenants` and `keys`, commands tenant.create, key.create, key.revoke. A key's secret is
made here and shown once in the answer; only its sha256 travels.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from admin.answers import Answer, Body, Page, Reading
from admin.asking import Asking
from admin.auth import Caller, may, parsed
from dispatcher.clock import rfc3339
from dispatcher.control.commands import CreateKey, CreateTenant, EditTenant, RevokeKey
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import View
from dispatcher.records.keys import public_id
from dispatcher.tenants.keys import Key, hash_secret, list_keys, new_secret
from dispatcher.tenants.tenant import Tenant, get_tenant, list_tenants

router = APIRouter(prefix="/v1", tags=["tenants and keys"])


class TenantBody(Body):
    title: Annotated[str, Field(min_length=1, max_length=200)]
    zone: Annotated[str, Field(max_length=64, description="IANA time zone")] = "UTC"
    region: Annotated[str, Field(max_length=2, description="ISO 3166 region of national numbers; empty: none")] = ""
    sender: Annotated[str, Field(max_length=20, description="default sender address")] = ""
    brand: Annotated[str, Field(max_length=100, description="named in the STOP confirmation; empty: the title")] = ""
    leap_rule: Annotated[
        Literal["feb28", "mar1", "leap"],
        Field(description="when somebody born on 29 February is greeted in other years; leap: not at all"),
    ] = "feb28"
    market_profile: Annotated[str, Field(max_length=40, description="GET /v1/profiles")] = "none"


class CapBody(Body):
    group: Literal["marketing", "care", "service"]
    max: Annotated[int, Field(ge=0, le=10_000)]
    within_s: Annotated[int, Field(ge=1, le=92 * 86_400)]


class TenantPatch(Body):
    title: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    zone: Annotated[str | None, Field(max_length=64, description="IANA; campaigns keep that of their schedule")] = None
    region: Annotated[str | None, Field(max_length=2, description="of numbers read from now on; empty: none")] = None
    sender: Annotated[str | None, Field(max_length=20, description="of new drafts; those there are keep theirs")] = None
    brand: Annotated[str | None, Field(max_length=100, description="named in the STOP confirmation")] = None
    approval_above: Annotated[
        int | None, Field(ge=0, le=0xFFFFFFFF, description="messages above which somebody else approves; 0: never")
    ] = None
    count_change_percent: Annotated[
        int | None, Field(ge=0, le=100_000, description="a scheduled campaign whose count differs by more is held")
    ] = None
    market_profile: Annotated[str | None, Field(max_length=40, description="GET /v1/profiles")] = None
    signature: Annotated[str | None, Field(max_length=40, description="who its texts say that they are from")] = None
    zone_field: Annotated[
        str | None, Field(max_length=100, description="field with a member's own IANA zone; empty: by the number")
    ] = None
    caps: Annotated[list[CapBody] | None, Field(max_length=12, description="beside those of the market")] = None
    rate: Annotated[int | None, Field(ge=0, le=1_000_000, description="parts a second of its plan; 0: no limit")] = None
    parts_month: Annotated[
        int | None, Field(ge=0, le=1 << 40, description="billed parts a month of its plan; 0: no limit")
    ] = None
    prepaid: Annotated[bool | None, Field(description="sends on credit alone")] = None
    currency: Annotated[str | None, Field(max_length=3, description="ISO 4217, of prices and credit")] = None
    leap_rule: Annotated[
        Literal["feb28", "mar1", "leap"] | None, Field(description="as of POST /tenants; counts follow at once")
    ] = None


class TenantAnswer(Answer):
    id: str
    title: str


class EditedTenantAnswer(TenantAnswer):
    warnings: list[str] = Field(description="What a new zone or region does not reach, and what follows it at once")


class KeyBody(Body):
    title: Annotated[str, Field(min_length=1, max_length=200)]
    scopes: Annotated[
        list[Annotated[str, Field(max_length=40)]],
        Field(min_length=1, max_length=32, description="* or such as members:read; coupons:redeem is all a till needs"),
    ]


class KeyAnswer(Answer):
    id: str
    title: str
    scopes: list[str]


class NewKeyAnswer(KeyAnswer):
    secret: str | None = Field(description="Shown this once; null when the answer is a replay")


@router.get("/tenants", response_model=Page[TenantAnswer])
async def list_all_tenants(caller: Annotated[Caller, may(tenant=False)], reads: Reading) -> dict[str, Any]:
    """Every tenant for an operator's key; the key's own otherwise."""

    def read(view: View) -> list[dict[str, Any]]:
        tenants = list_tenants(view) if caller.operator else [get_tenant(view, caller.tenant)]
        return [_tenant_json(tenant) for tenant in tenants if tenant is not None]

    return {"data": await reads.scan(read), "next": None}


@router.post("/tenants", status_code=201, response_model=TenantAnswer)
async def create_tenant(
    body: TenantBody, ask: Asking, caller: Annotated[Caller, may("tenants:write", tenant=False, operator=True)]
) -> dict[str, Any]:
    return await ask(caller, CreateTenant(**body.model_dump()))


@router.patch("/tenants/{tenant}", response_model=EditedTenantAnswer)
async def edit_tenant(
    tenant: str,
    body: TenantPatch,
    ask: Asking,
    caller: Annotated[Caller, may("tenants:write", tenant=False, operator=True)],
) -> dict[str, Any]:
    """Change the rules that its campaigns are held against."""
    number = parsed("ten", tenant)
    return await ask(Caller(caller.key, number), EditTenant(changes=body.model_dump(exclude_none=True)))


@router.get("/tenants/{tenant}", response_model=TenantAnswer)
async def get_one_tenant(tenant: str, caller: Annotated[Caller, may(tenant=False)], reads: Reading) -> dict[str, Any]:
    """One tenant: any for an operator's key, else the key's own."""
    number = parsed("ten", tenant)
    found = reads.now(get_tenant, number) if caller.operator or number == caller.tenant else None
    if found is None:
        raise CommandRefused(404, "not_found", "no such tenant")
    return _tenant_json(found)


@router.get("/keys", response_model=Page[KeyAnswer])
async def list_tenant_keys(
    caller: Annotated[Caller, may("tenants:write", tenant=False)], reads: Reading
) -> dict[str, Any]:
    """Keys of the tenant acted for; an operator without X-Tenant sees the operator's."""
    keys = await reads.scan(list_keys, caller.tenant)
    return {"data": [_key_json(key) for key in keys], "next": None}


@router.post("/keys", status_code=201, response_model=NewKeyAnswer)
async def create_key(
    body: KeyBody, ask: Asking, caller: Annotated[Caller, may("tenants:write", tenant=False)]
) -> dict[str, Any]:
    """A key for the tenant acted for. A tenant's key gives no right that it lacks itself."""
    beyond = [] if caller.operator else [scope for scope in body.scopes if not caller.key.may(scope)]
    if beyond:
        detail = f"this key cannot give {', '.join(beyond)}"
        raise CommandRefused(403, "scope_missing", detail, extra={"scopes": beyond})
    secret = new_secret()
    command = CreateKey(
        for_tenant=caller.tenant,
        title=body.title,
        scopes=body.scopes,
        secret_sha256=hash_secret(secret),
    )
    made = await ask(caller, command)
    replayed = "Idempotent-Replayed" in ask.response.headers
    shown = {"id": made["id"], "tenant": _tenant_id(caller.tenant), "title": body.title, "scopes": made["scopes"]}
    return {**shown, "secret": None if replayed else secret}


@router.delete("/keys/{key}", status_code=204)
async def revoke_key(key: str, ask: Asking, caller: Annotated[Caller, may("tenants:write", tenant=False)]) -> None:
    await ask(caller, RevokeKey(key_id=parsed("key", key)))


def _tenant_json(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": public_id("ten", tenant.number),
        "title": tenant.title,
        "zone": tenant.zone,
        "region": tenant.region,
        "sender": tenant.sender,
        "brand": tenant.brand,
        "leap_rule": tenant.leap_rule,
        "approval_above": tenant.approval_above,
        "count_change_percent": tenant.count_change_percent,
        "market_profile": tenant.market_profile,
        "signature": tenant.signature,
        "zone_field": tenant.zone_field,
        "caps": list(tenant.caps),
        "rate": tenant.rate,
        "parts_month": tenant.parts_month,
        "prepaid": tenant.prepaid,
        "currency": tenant.currency,
        "members_ever": tenant.next_member_no,
    }


def _key_json(key: Key) -> dict[str, Any]:
    return {
        "id": public_id("key", key.id),
        "tenant": _tenant_id(key.tenant),
        "title": key.title,
        "scopes": sorted(key.scopes),
        "created_at": rfc3339(key.created_ms),
    }


def _tenant_id(tenant: int) -> str | None:
    return public_id("ten", tenant) if tenant else None
