"""Fields: what a tenant keeps about its members.

Touches: rows of `fields`, command field.define.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field as Rule

from admin.answers import Answer, Body, Page, Reading
from admin.asking import Asking
from admin.auth import Caller, may
from dispatcher.control.commands import DefineField
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import field_json, fields_of
from dispatcher.records.keys import public_id

router = APIRouter(prefix="/v1", tags=["fields"])


class FieldBody(Body):
    name: Annotated[str, Rule(min_length=1, max_length=64, description="as segments and templates say it")]
    kind: Literal["dict", "int", "date", "month_day", "bool", "money", "tags", "text"]
    values: Annotated[list[Annotated[str, Rule(max_length=200)]], Rule(max_length=65_535, default_factory=list)]
    closed: Annotated[bool, Rule(description="a value outside `values` is an error and not a new entry")] = False
    max_values: Annotated[int, Rule(ge=1, le=65_535)] = 255
    bits: Literal[32, 64] = 64
    max_length: Annotated[int, Rule(ge=1, le=4_096, description="text: characters")] = 160
    label: Annotated[str, Rule(max_length=200)] = ""
    pii: bool = False


class FieldAnswer(Answer):
    name: str
    kind: str


@router.get("/fields", response_model=Page[FieldAnswer])
async def list_fields(caller: Annotated[Caller, may("members:read")], reads: Reading) -> dict[str, Any]:
    """The tenant's fields and those every tenant has (phone, points)."""
    fields = await reads.scan(fields_of, caller.tenant)
    rows = [{"id": public_id("fld", field.number), **field_json(field)} for field in fields.values()]
    return {"data": rows, "next": None}


@router.post("/fields", status_code=201, response_model=FieldAnswer)
async def define_field(body: FieldBody, ask: Asking, caller: Annotated[Caller, may("members:write")]) -> dict[str, Any]:
    wanted = body.model_dump()
    try:
        return await ask(caller, DefineField(title=wanted.pop("name"), **wanted))
    except CommandRefused as refused:
        for error in refused.errors:  # the command's word for it is not the API's
            error["pointer"] = "/name" if error.get("pointer") == "/title" else error.get("pointer", "")
        raise
