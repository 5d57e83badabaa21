"""Segments: what a rule counts now, and rules kept under a name.

Touches: members' columns through segments/count; rows of `segments`; command segment.save. A count is
exact, so it is a read that may take some milliseconds, in a worker thread.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from admin.answers import Answer, Body, Page, Reading
from admin.asking import Asking
from admin.auth import Caller, may
from dispatcher.clock import rfc3339
from dispatcher.control.commands import SaveSegment
from dispatcher.errors import CommandRefused
from dispatcher.records.states import Purpose
from dispatcher.segments.count import count
from dispatcher.segments.segment import list_segments

router = APIRouter(prefix="/v1", tags=["segments"])

Expr = Annotated[str, Field(min_length=1, max_length=1_000_000, description='e.g. tier = "gold" and points >= 100')]


class CountBody(Body):
    expr: Expr
    purpose: Purpose = Purpose.MARKETING


class CountAnswer(Answer):
    matched: int
    reachable: int
    waterfall: dict[str, int] = Field(description="why the rest cannot be reached for this purpose")
    unknown: int = Field(description="members of whom a field that the expression names is unknown")
    ms: float
    as_of: str


class SegmentBody(Body):
    title: Annotated[str, Field(min_length=1, max_length=200)]
    expr: Expr


class SegmentAnswer(Answer):
    id: str
    title: str
    expr: str
    version: int


@router.post("/segments:count", response_model=CountAnswer)
async def count_segment(
    request: Request, body: CountBody, caller: Annotated[Caller, may("segments:read")], reads: Reading
) -> dict[str, Any]:
    """How many members match now, and how many of them a message of `purpose` would reach."""
    _length_checked(request, body.expr)
    now_ms = request.app.state.clock.epoch_ms()
    answer = await reads.scan(count, caller.tenant, body.expr, body.purpose, now_ms)
    return answer


@router.get("/segments", response_model=Page[SegmentAnswer])
async def list_saved_segments(caller: Annotated[Caller, may("segments:read")], reads: Reading) -> dict[str, Any]:
    rows = await reads.scan(list_segments, caller.tenant)
    return {"data": [_segment_json(row) for row in rows], "next": None}


@router.post("/segments", status_code=201, response_model=SegmentAnswer)
async def save_segment(
    request: Request, body: SegmentBody, ask: Asking, caller: Annotated[Caller, may("campaigns:write")]
) -> dict[str, Any]:
    """Keep a rule under a title (201), or a next version of the one with this title (200)."""
    _length_checked(request, body.expr)
    reply = await ask(caller, SaveSegment(title=body.title, expr=body.expr))
    ask.response.status_code = 201 if reply["version"] == 1 else 200
    return _segment_json(reply)


def _segment_json(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("id", "title", "expr", "version")}
    times = {"created_at": rfc3339(row["created_ms"]), "changed_at": rfc3339(row["changed_ms"])}
    return {**shown, **times, "warnings": row.get("warnings", [])}


def _length_checked(request: Request, expr: str) -> None:
    most: Any = request.app.state.settings.limits.expression_characters_max
    if len(expr) > most:
        raise CommandRefused(422, "segment_too_long", f"at most {most} characters; this has {len(expr)}")
