"""Fields: what a tenant keeps about its members; changed while in use, retired, restored, and what they hold.

Touches: rows of `fields`; commands field.define, field.edit, field.retire, field.restore; members' columns through
members/field_stats, a read of some milliseconds in a worker thread. A field is meant by its name or its id.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field as Rule

from admin.answers import Answer, Body, Page, Reading
from admin.asking import LONG_TIMEOUT_S, Ask, Asking
from admin.auth import Caller, may
from dispatcher.control.commands import DefineField, EditField, MergeValues, RestoreField, RetireField
from dispatcher.errors import CommandRefused
from dispatcher.members.field_edits import retired_fields
from dispatcher.members.field_stats import BINS, TOP, TOP_MAX, field_stats
from dispatcher.members.fields import field_by, fields_of, shown

router = APIRouter(prefix="/v1", tags=["fields"])

Name = Annotated[str, Path(min_length=1, max_length=64, description="a field's name or id")]
Word = Annotated[str, Rule(max_length=200)]
Words = Annotated[list[Word], Rule(max_length=65_535, default_factory=list)]
Sources = Annotated[
    list[Annotated[str, Rule(max_length=32)]],
    Rule(max_length=32, default_factory=list, description="best first; a worse one overwrites no better one's value"),
]


class FieldBody(Body):
    name: Annotated[str, Rule(min_length=1, max_length=64, description="as segments and templates say it")]
    kind: Literal["dict", "int", "date", "month_day", "bool", "money", "tags", "text"]
    values: Words
    closed: Annotated[bool, Rule(description="a value outside `values` is an error and not a new entry")] = False
    max_values: Annotated[int, Rule(ge=1, le=65_535)] = 255
    bits: Literal[32, 64] = 64
    max_length: Annotated[int, Rule(ge=1, le=4_096, description="text: characters")] = 160
    label: Annotated[str, Rule(max_length=200)] = ""
    pii: bool = False
    sources: Annotated[bool, Rule(description="keep each value's source and time")] = False
    source_rank: Sources


class FieldEdit(Body):
    """What is left out stays as it is."""

    name: Annotated[str, Rule(min_length=1, max_length=64, description="segments and campaigns follow it")] = ""
    label: Annotated[str, Rule(max_length=200)] = ""
    pii: bool = False
    closed: bool = False
    max_values: Annotated[int, Rule(ge=1, le=65_535, description="not below the values it has")] = 255
    max_length: Annotated[int, Rule(ge=1, le=4_096, description="text: it only grows")] = 160
    sources: bool = False
    source_rank: Sources
    add_values: Words
    rename_values: Annotated[
        dict[str, Word], Rule(max_length=1_000, default_factory=dict, description="{old: new}; members follow")
    ]


class MergeValuesBody(Body):
    value: Annotated[str, Rule(min_length=1, max_length=100)]
    into: Annotated[str, Rule(max_length=100, description="empty: `value` stands for itself again")] = ""
    reason: Annotated[str, Rule(max_length=500, description="kept in the audit")] = ""
    dry_run: bool = False


class MergedAnswer(Answer):
    field: str
    value: str
    matched: int


class RestoreBody(Body):
    name: Annotated[str, Rule(max_length=64, description="where another field has its name by now")] = ""


class FieldAnswer(Answer):
    id: str
    name: str
    kind: str
    retired: bool


class Share(Answer):
    value: Any
    count: int


class StatsAnswer(Answer):
    name: str
    kind: str
    members: int
    known: int
    unknown: int
    distinct: int
    distinct_more: bool = Rule(description="there are more than `distinct`, which is as far as they were told apart")
    min: Any
    max: Any
    histogram: list[dict[str, Any]] | None = Rule(description="{from, to, count}; `to` is outside of it")
    top: list[Share] | None
    top_exact: bool
    masked: bool = Rule(description="a pii field: nothing that is one person's is told")
    as_of: str
    ms: float


@router.get("/fields", response_model=Page[FieldAnswer])
async def list_fields(
    caller: Annotated[Caller, may("members:read")],
    reads: Reading,
    retired: Annotated[bool, Query(description="those out of use instead")] = False,
) -> dict[str, Any]:
    """The tenant's fields and those every tenant has (phone, points)."""
    if retired:
        return {"data": [shown(field) for field in await reads.scan(retired_fields, caller.tenant)], "next": None}
    fields = await reads.scan(fields_of, caller.tenant)
    return {"data": [shown(field) for field in fields.values()], "next": None}


@router.post("/fields", status_code=201, response_model=FieldAnswer)
async def define_field(body: FieldBody, ask: Asking, caller: Annotated[Caller, may("members:write")]) -> dict[str, Any]:
    """A new field; one that exists with the same kind gets the values that it lacks."""
    wanted = body.model_dump()
    return await _asked(ask, caller, DefineField(title=wanted.pop("name"), **wanted))


@router.get("/fields/{name}", response_model=FieldAnswer)
async def get_field(name: Name, caller: Annotated[Caller, may("members:read")], reads: Reading) -> dict[str, Any]:
    """A retired one by its id."""
    out_of_use = [shown(field) for field in await reads.scan(retired_fields, caller.tenant)]
    found = next((field for field in out_of_use if field["id"] == name), None)
    return found or shown(field_by(await reads.scan(fields_of, caller.tenant), name))


@router.patch("/fields/{name}", response_model=FieldAnswer)
async def edit_field(
    name: Name, body: FieldEdit, ask: Asking, caller: Annotated[Caller, may("members:write")]
) -> dict[str, Any]:
    """Rename, label, bound, widen or fill a field in use; a new name is written into segments and campaigns."""
    changes = body.model_dump(exclude_unset=True)
    if "name" in changes:
        changes["title"] = changes.pop("name")
    return await _asked(ask, caller, EditField(title=name, changes=changes))


@router.delete("/fields/{name}", response_model=FieldAnswer)
async def retire_field(name: Name, ask: Asking, caller: Annotated[Caller, may("members:write")]) -> dict[str, Any]:
    """Out of use: members keep its values, its name is free. 409 with `used_by` while anything names it."""
    return await _asked(ask, caller, RetireField(title=name))


@router.post("/fields/{name}:restore", response_model=FieldAnswer)
async def restore_field(
    name: Name,
    ask: Asking,
    caller: Annotated[Caller, may("members:write")],
    body: RestoreBody | None = None,
) -> dict[str, Any]:
    """A retired field back in use with all its values; by id where several had its name."""
    return await _asked(ask, caller, RestoreField(title=name, new_title=body.name if body else ""))


@router.post("/fields/{name}:merge-values", status_code=202, response_model=MergedAnswer)
async def merge_values(
    name: Name, body: MergeValuesBody, ask: Asking, caller: Annotated[Caller, may("members:write")]
) -> dict[str, Any]:
    """Make one value of a dict another: members in slices (`id` is the work's: /v1/imports/{id}, :undo too), and the
    word means the other one from now on wherever it is imported, set or asked."""
    command = MergeValues(title=name, value=body.value, into=body.into, dry_run=body.dry_run)
    reply = await ask(caller, command, reason=body.reason, timeout_s=LONG_TIMEOUT_S)
    ask.response.status_code = 202 if "job" in reply else 200
    return {key: value for key, value in reply.items() if key != "job"}


@router.get("/fields/{name}/stats", response_model=StatsAnswer)
async def get_field_stats(
    request: Request,
    name: Name,
    caller: Annotated[Caller, may("members:read")],
    reads: Reading,
    bins: Annotated[int, Query(ge=1, le=1_000, description="of a histogram, at most")] = BINS,
    top: Annotated[int, Query(ge=1, le=TOP_MAX, description="most frequent values")] = TOP,
) -> dict[str, Any]:
    """Known, unknown, distinct, least, greatest, and how the values are spread over all live members, exactly."""
    now_ms = request.app.state.clock.epoch_ms()
    return await reads.scan(field_stats, caller.tenant, name, now_ms, bins=bins, top=top)


async def _asked(ask: Ask, caller: Caller, command: Any) -> dict[str, Any]:
    """The reply; a refusal points at the API's own words, for which commands have others."""
    try:
        return await ask(caller, command)
    except CommandRefused as refused:
        for error in refused.errors:
            same = error.get("pointer") in ("/title", "/new_title")
            error["pointer"] = "/name" if same else error.get("pointer", "")
        raise
