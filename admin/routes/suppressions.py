"""Suppressions: numbers that nothing goes to, of the operator, a tenant or one signature; by number or by its hash.

Touches: rows of the three lists through members/suppression; command suppression.import.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from admin.answers import After, Answer, Body, Limit, Page, Reading, page
from admin.asking import LONG_TIMEOUT_S, Asking
from admin.auth import Caller, may
from admin.reads import cursor_of, key_of
from dispatcher.clock import rfc3339
from dispatcher.control.commands import ImportSuppressions
from dispatcher.errors import CommandRefused
from dispatcher.members.suppression import check, found_by_hash, listed
from dispatcher.store.layout import U64

router = APIRouter(prefix="/v1", tags=["suppressions"])

Number = Annotated[str, Field(min_length=1, max_length=40, description="E.164, or national in the tenant's region")]
Hash = Annotated[str, Field(min_length=64, max_length=64, description="SHA-256 of the digits, hexadecimal")]
Signature = Annotated[str, Field(max_length=40, description="of what bears this signature alone")]


class SuppressionBody(Body):
    numbers: Annotated[list[Number], Field(max_length=1_000, default_factory=list)]
    hashes: Annotated[list[Hash], Field(max_length=1_000, default_factory=list)]
    signature: Signature = ""
    why: Annotated[str, Field(max_length=500)] = ""


class CheckBody(Body):
    numbers: Annotated[list[Number], Field(min_length=1, max_length=1_000)]


class SuppressionAnswer(Answer):
    msisdn: str


class CheckAnswer(Answer):
    number: str
    suppressed: bool
    lists: list[str]


@router.get("/suppressions", response_model=Page[SuppressionAnswer])
async def list_suppressions(
    caller: Annotated[Caller, may("members:read", tenant=False)],
    reads: Reading,
    limit: Limit,
    after: After = None,
    signature: Annotated[str, Query(max_length=40, description="this signature's list")] = "",
) -> dict[str, Any]:
    """Numbers that get nothing from this tenant, in order; an operator without X-Tenant: from any tenant. What came as
    hashes has no numbers to list: `:check` says of one whether it is among them."""
    key = key_of(after, U64.size)
    last = None if key is None else U64.unpack(key)[0]
    rows = await reads.scan(listed, caller.tenant, last, limit + 1, signature=signature)
    cursor = cursor_of(U64.pack(rows[min(limit, len(rows)) - 1]["number"])) if rows else None
    shown = [{"msisdn": f"+{row['number']}", "at": rfc3339(row["at_ms"]), "why": row["reason"]} for row in rows]
    return page(shown, limit, cursor)


@router.post("/suppressions", response_model=Answer)
async def add_suppressions(
    body: SuppressionBody, ask: Asking, reads: Reading, caller: Annotated[Caller, may("members:write", tenant=False)]
) -> dict[str, Any]:
    """All or, when one is wrong, none. Members that hashes mean are looked for among all: seconds for millions."""
    found: dict[str, Any] = {}
    if body.hashes:
        found = await reads.scan(found_by_hash, caller.tenant, body.hashes)
    return await ask(caller, ImportSuppressions(**body.model_dump(), **found), timeout_s=LONG_TIMEOUT_S)


@router.post("/suppressions:check", response_model=Page[CheckAnswer])
async def check_suppressions(
    body: CheckBody, reads: Reading, caller: Annotated[Caller, may("members:read")]
) -> dict[str, Any]:
    """On which lists each number stands."""
    return {"data": await reads.scan(check, caller.tenant, body.numbers), "next": None}


@router.delete("/suppressions/{msisdn}", status_code=204)
async def remove_suppression(
    msisdn: Annotated[str, Field(max_length=40)],
    ask: Asking,
    caller: Annotated[Caller, may("members:write", tenant=False)],
    signature: Annotated[str, Query(max_length=40, description="from this signature's list")] = "",
) -> None:
    reply = await ask(caller, ImportSuppressions(numbers=[msisdn], signature=signature, remove=True))
    if not reply["removed"]:
        raise CommandRefused(404, "not_found", "the number is not suppressed here")
