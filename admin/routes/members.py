"""Members: one by id or number, a page, a change.

Touches: a member's columns; commands member.*.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import Field

from admin.answers import After, Answer, Body, Limit, Page, Reading, Value
from admin.asking import Asking
from admin.auth import Caller, may
from admin.reads import Reads, cursor_of, key_of
from dispatcher.control.commands import EraseMember, UpsertMember
from dispatcher.errors import CommandRefused
from dispatcher.members.aliases import alias_of, merged_into
from dispatcher.members.member import list_members, member_json
from dispatcher.members.msisdn import normalise
from dispatcher.records.changes import View
from dispatcher.records.keys import parse_member_id, public_member_id
from dispatcher.store.columns import find_number
from dispatcher.tenants.tenant import get_tenant

router = APIRouter(prefix="/v1", tags=["members"])
_MEMBER_NO = struct.Struct(">I")

Number = Annotated[str, Field(min_length=1, max_length=40, description="E.164, or national in the tenant's region")]
Reason = Annotated[str, Query(max_length=500, description="kept in the audit")]
MOVED: dict[int | str, dict[str, Any]] = {308: {"description": "Merged into the member at Location (`merged_into`)"}}
Values = Annotated[dict[str, Value], Field(max_length=500)]


Source = Annotated[
    str, Field(max_length=60, pattern=r"^([a-z][a-z0-9_]{0,39}(:.*)?)?$", description="for fields that keep it; api")
]


class MemberBody(Body):
    msisdn: Number
    values: Annotated[Values, Field(description="field name to value", default_factory=dict)]
    source: Source = ""


class MemberPatch(Body):
    msisdn: Number | None = None
    values: Annotated[Values, Field(description="field name to value; null clears", default_factory=dict)]
    source: Source = ""


class MemberAnswer(Answer):
    id: str


@router.get("/members", response_model=Page[MemberAnswer])
async def list_members_page(
    caller: Annotated[Caller, may("members:read")], reads: Reading, limit: Limit, after: After = None
) -> dict[str, Any]:
    """In the order they were made."""
    key = key_of(after, _MEMBER_NO.size)
    from_no = -1 if key is None else _MEMBER_NO.unpack(key)[0]
    rows, last = await reads.scan(list_members, caller.tenant, from_no, limit)
    cursor = None if last is None else cursor_of(_MEMBER_NO.pack(last))
    return {"data": rows, "next": cursor}


@router.post("/members", status_code=201, response_model=MemberAnswer)
async def create_member(
    body: MemberBody, ask: Asking, caller: Annotated[Caller, may("members:write")], reads: Reading
) -> dict[str, Any]:
    """A new member; 409 when the number is already one's."""
    reply = await ask(
        caller, UpsertMember(msisdn=body.msisdn, values=body.values, must_be_new=True, source=body.source)
    )
    return await _shown(reads, caller, reply)


@router.post("/members:upsert", response_model=MemberAnswer)
async def upsert_member(
    body: MemberBody, ask: Asking, caller: Annotated[Caller, may("members:write")], reads: Reading
) -> dict[str, Any]:
    """Create (201), or change the member who has the number (200)."""
    reply = await ask(caller, UpsertMember(msisdn=body.msisdn, values=body.values, source=body.source))
    ask.response.status_code = 201 if reply["created"] else 200
    return await _shown(reads, caller, reply)


@router.get("/members/by-phone/{msisdn}", response_model=MemberAnswer)
async def find_member(
    msisdn: Annotated[str, Field(max_length=40)], caller: Annotated[Caller, may("members:read")], reads: Reading
) -> dict[str, Any]:
    def read(view: View) -> dict[str, Any] | None:
        number = _number(view, caller.tenant, msisdn)
        member_no = find_number(view, caller.tenant, number)
        if member_no is None:
            member_no = alias_of(view, caller.tenant, number)
        return None if member_no is None else member_json(view, caller.tenant, member_no)

    return _found(await reads.scan(read))


@router.get("/members/{member}", response_model=MemberAnswer, responses=MOVED)
async def get_member(member: str, caller: Annotated[Caller, may("members:read")], reads: Reading) -> Any:
    """308 to the member who took over one that was merged."""

    def read(view: View) -> Any:
        member_no = member_no_of(member)
        found = member_json(view, caller.tenant, member_no)
        return _found(found) if found else moved(view, caller.tenant, member_no)

    return await reads.scan(read)


@router.patch("/members/{member}", response_model=MemberAnswer)
async def edit_member(
    member: str, body: MemberPatch, ask: Asking, caller: Annotated[Caller, may("members:write")], reads: Reading
) -> dict[str, Any]:
    command = UpsertMember(
        member_no=member_no_of(member), msisdn=body.msisdn, values=body.values, create=False, source=body.source
    )
    return await _shown(reads, caller, await ask(caller, command))


@router.delete("/members/{member}", status_code=204)
async def erase_member(
    member: str, ask: Asking, caller: Annotated[Caller, may("members:write")], reason: Reason = ""
) -> None:
    """Erase what is known of the member. The number stays suppressed, as a salted hash; points entries as amounts."""
    await ask(caller, EraseMember(member_no=member_no_of(member)), reason=reason)


def moved(view: View, tenant: int, member_no: int, rest: str = "") -> JSONResponse:
    """308 for a member who was merged into another. Raises CommandRefused 404 for any other who is not there."""
    into = merged_into(view, tenant, member_no)
    if into is None or member_json(view, tenant, into) is None:
        raise CommandRefused(404, "not_found", "no such member")
    winner = public_member_id(into)
    body = {"id": public_member_id(member_no), "merged_into": winner}
    return JSONResponse(body, 308, {"Location": f"/v1/members/{winner}{rest}"})


def member_no_of(member: str) -> int:
    """The member_no of a public id in a path or body. Raises CommandRefused 404."""
    member_no = parse_member_id(member)
    if member_no is None:
        raise CommandRefused(404, "not_found", "no such member")
    return member_no


async def _shown(reads: Reads, caller: Caller, reply: dict[str, Any]) -> dict[str, Any]:
    """The member as it is after the command's commit; its id alone if somebody erased it meanwhile."""
    shown = await reads.scan(member_json, caller.tenant, reply["member_no"])
    return shown or {"id": reply["id"]}


def _found(answer: dict[str, Any] | None) -> dict[str, Any]:
    if answer is None:
        raise CommandRefused(404, "not_found", "no such member")
    return answer


def _number(view: View, tenant: int, text: str) -> int:
    owner = get_tenant(view, tenant)
    number = normalise(text, owner.region if owner else "")
    if not isinstance(number, int):
        raise CommandRefused(422, "number_invalid", f"not a telephone number: {number.reason}")
    return number
