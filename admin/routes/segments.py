"""Segments: rules kept under a name, and what may be asked of a rule that is only typed yet.

Touches: members' columns and campaigns' ledgers through segments/; rows of `segments` and `segment_counts`; commands
segment.*. Every answer is exact and of one instant, `as_of`: a read of some milliseconds in a worker thread.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from admin.answers import Answer, Page, Reading
from admin.asking import LONG_TIMEOUT_S, Asking
from admin.auth import Caller, may, parsed
from admin.routes.segment_shapes import (
    AsOf,
    CountAnswer,
    CountBody,
    DayAnswer,
    ExplainBody,
    HistogramBody,
    ListedAnswer,
    NumbersBody,
    OverlapBody,
    SampleBody,
    SegmentAnswer,
    SegmentBody,
    SegmentPatch,
    SnapshotBody,
    SnapshotRuleBody,
    VersionAnswer,
    as_of_ms,
    held,
    rule_text,
)
from dispatcher.clock import rfc3339
from dispatcher.control.commands import DeleteSegment, EditSegment, SaveSegment, SnapshotSegment
from dispatcher.errors import CommandRefused
from dispatcher.members.field_stats import BINS, TOP, TOP_MAX
from dispatcher.members.member import member_json
from dispatcher.records.changes import View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Purpose
from dispatcher.segments.answers import counts_of, histogram, overlap, sample
from dispatcher.segments.answers.histogram import BINS_MAX
from dispatcher.segments.count import count
from dispatcher.segments.explain import explain
from dispatcher.segments.plan import compile_text
from dispatcher.segments.segment import get_segment, list_segments, segment_versions
from dispatcher.segments.tree import to_json

router = APIRouter(prefix="/v1", tags=["segments"])

MayRead = Annotated[Caller, may("segments:read")]
MayWrite = Annotated[Caller, may("campaigns:write")]
_XCaller = Header(max_length=100, description="one of a key's places that count: a newer count there ends an older")


@router.post("/segments:count", response_model=CountAnswer)
async def count_segment(
    request: Request,
    body: CountBody,
    caller: MayRead,
    reads: Reading,
    x_caller: Annotated[str, _XCaller] = "",
) -> dict[str, Any]:
    """How many members match, and how many of them a message of `purpose` would reach.

    409 superseded when the same key (and X-Caller) asked for another count before this one was done.
    """
    text, at_ms = rule_text(request, body), as_of_ms(request, body.as_of)

    def read(view: View, wanted: Callable[[], None]) -> dict[str, Any]:
        wanted()
        answer = count(view, caller.tenant, text, body.purpose, at_ms, stop=wanted)
        if body.with_tree:
            answer["tree"] = to_json(compile_text(view, caller.tenant, text, as_of_ms=at_ms).rule)
        if body.explain:
            wanted()
            answer["explain"] = explain(view, caller.tenant, text, body.purpose, at_ms)
        return answer

    with request.app.state.counting.begin((caller.key.id, caller.tenant, x_caller)) as wanted:
        return await reads.scan(read, wanted)


@router.post("/segments:explain", response_model=Answer)
async def explain_segment(request: Request, body: ExplainBody, caller: MayRead, reads: Reading) -> dict[str, Any]:
    """What a count of this rule reads and what each condition costs."""
    text, at_ms = rule_text(request, body), as_of_ms(request, body.as_of)
    return await reads.scan(explain, caller.tenant, text, body.purpose, at_ms)


@router.post("/segments:histogram", response_model=Answer)
async def show_histogram(request: Request, body: HistogramBody, caller: MayRead, reads: Reading) -> dict[str, Any]:
    """How the matched are spread over one field."""
    text, at_ms = rule_text(request, body), as_of_ms(request, body.as_of)
    return await reads.scan(histogram, caller.tenant, text, body.field, at_ms, bins=body.bins, top=body.top)


@router.post("/segments:overlap", response_model=Answer)
async def overlap_segments(request: Request, body: OverlapBody, caller: MayRead, reads: Reading) -> dict[str, Any]:
    """What two to eight rules share: each pair, each one's own, all of them."""
    texts = [held(request, text) for text in body.exprs]
    return await reads.scan(overlap, caller.tenant, texts, as_of_ms(request, body.as_of))


@router.post("/segments:sample", response_model=Answer)
async def sample_segment(
    request: Request, body: SampleBody, caller: Annotated[Caller, may("segments:read", "members:read")], reads: Reading
) -> dict[str, Any]:
    """Some of the matched, spread evenly and drawn by `seed`, each as GET /members/{member} shows it."""
    text, at_ms = rule_text(request, body), as_of_ms(request, body.as_of)

    def read(view: View) -> dict[str, Any]:
        found = sample(view, caller.tenant, text, body.n, body.seed, at_ms)
        found["members"] = [member_json(view, caller.tenant, member_no) for member_no in found["members"]]
        return found

    return await reads.scan(read)


@router.get("/segments", response_model=Page[SegmentAnswer])
async def list_saved_segments(caller: MayRead, reads: Reading) -> dict[str, Any]:
    """Oldest first; a tenant has 1,000 at most, so they come in one page."""
    rows = await reads.scan(list_segments, caller.tenant)
    return {"data": [segment_json(row) for row in rows], "next": None}


@router.post("/segments", status_code=201, response_model=SegmentAnswer)
async def save_segment(request: Request, body: SegmentBody, ask: Asking, caller: MayWrite) -> dict[str, Any]:
    """Keep a rule under a title (201), or a next version of the one with this title (200)."""
    text = rule_text(request, body)
    reply = await ask(caller, SaveSegment(title=body.title, expr=text, description=body.description))
    ask.response.status_code = 201 if reply["version"] == 1 else 200
    return _tagged(ask.response, segment_json(reply))


@router.get("/segments/{segment}", response_model=SegmentAnswer)
async def get_saved_segment(
    segment: str,
    response: Response,
    caller: MayRead,
    reads: Reading,
    version: Annotated[int | None, Query(ge=1, le=0xFFFFFFFF, description="as it was at this version")] = None,
) -> dict[str, Any]:
    row = await reads.scan(need_segment, caller.tenant, parsed("seg", segment), version)
    return _tagged(response, segment_json(row))


@router.patch("/segments/{segment}", response_model=SegmentAnswer)
async def edit_segment(
    request: Request,
    segment: str,
    body: SegmentPatch,
    ask: Asking,
    caller: MayWrite,
    if_match: Annotated[str | None, Header(max_length=100, description="the ETag that the edit was made from")] = None,
) -> dict[str, Any]:
    """Another title, rule or description. 412 when If-Match is given and is not the segment's ETag any more."""
    changes: dict[str, Any] = body.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={"tree"})
    if body.expr is not None or body.tree is not None:
        changes["expr"] = rule_text(request, body)
    if if_match is not None and if_match.strip() != "*":
        changes["version"] = _version(if_match)
    reply = await ask(caller, EditSegment(segment=parsed("seg", segment), changes=changes))
    return _tagged(ask.response, segment_json(reply))


@router.delete("/segments/{segment}", status_code=204)
async def delete_segment(segment: str, ask: Asking, caller: MayWrite) -> None:
    """With its versions and daily counts; 409 while another segment names it."""
    await ask(caller, DeleteSegment(segment=parsed("seg", segment)))


@router.get("/segments/{segment}/versions", response_model=Page[VersionAnswer])
async def list_versions(segment: str, caller: MayRead, reads: Reading) -> dict[str, Any]:
    """Every rule it ever had, oldest first."""

    rows = await reads.scan(segment_versions, caller.tenant, parsed("seg", segment))
    return {"data": [_timed(row) for row in rows], "next": None}


@router.post("/segments/{segment}:count", response_model=CountAnswer)
async def count_saved_segment(
    request: Request,
    segment: str,
    caller: MayRead,
    reads: Reading,
    purpose: Purpose = Purpose.MARKETING,
    as_of: AsOf = None,
) -> dict[str, Any]:
    at_ms = as_of_ms(request, as_of)

    def read(view: View) -> dict[str, Any]:
        row = need_segment(view, caller.tenant, parsed("seg", segment))
        return count(view, caller.tenant, row["expr"], purpose, at_ms)

    return await reads.scan(read)


@router.post("/segments/{segment}:snapshot", status_code=201, response_model=SegmentAnswer)
async def snapshot_saved_segment(
    request: Request, segment: str, body: SnapshotBody, ask: Asking, caller: MayWrite, reads: Reading
) -> dict[str, Any]:
    """Keep who its members are at `as_of` (now without it) as a segment of its own, which never changes: it is counted,
    listed, named and deleted as any, and `frozen` says of when it is and how many there were."""
    row = await reads.scan(need_segment, caller.tenant, parsed("seg", segment))
    return await _snapshot(request, body, row["expr"], parsed("seg", segment), ask, caller)


@router.post("/segments:snapshot", status_code=201, response_model=SegmentAnswer)
async def snapshot_rule(request: Request, body: SnapshotRuleBody, ask: Asking, caller: MayWrite) -> dict[str, Any]:
    """The same of a rule that is not saved."""
    return await _snapshot(request, body, rule_text(request, body), None, ask, caller)


@router.post("/segments:numbers", status_code=201, response_model=ListedAnswer)
async def keep_list_of_numbers(body: NumbersBody, ask: Asking, caller: MayWrite) -> dict[str, Any]:
    """Keep a list of numbers as a segment of the members that they mean, for a campaign to whoever is on it. What is
    no number, is there twice or is no member's is left out, and said so by its place in the list."""
    command = SnapshotSegment(title=body.title, numbers=body.numbers, description=body.description)
    return _tagged(ask.response, segment_json(await ask(caller, command, timeout_s=LONG_TIMEOUT_S)))


@router.get("/segments/{segment}/histogram", response_model=Answer)
async def saved_segment_histogram(
    request: Request,
    segment: str,
    field: Annotated[str, Query(min_length=1, max_length=100)],
    caller: MayRead,
    reads: Reading,
    bins: Annotated[int, Query(ge=1, le=BINS_MAX)] = BINS,
    top: Annotated[int, Query(ge=1, le=TOP_MAX)] = TOP,
    as_of: AsOf = None,
) -> dict[str, Any]:
    """How its members are spread over one field."""
    at_ms = as_of_ms(request, as_of)

    def read(view: View) -> dict[str, Any]:
        row = need_segment(view, caller.tenant, parsed("seg", segment))
        return histogram(view, caller.tenant, row["expr"], field, at_ms, bins=bins, top=top)

    return await reads.scan(read)


@router.get("/segments/{segment}/counts", response_model=Page[DayAnswer])
async def list_daily_counts(
    segment: str,
    caller: MayRead,
    reads: Reading,
    begin: Annotated[date | None, Query(alias="from")] = None,
    end: Annotated[date | None, Query(alias="to")] = None,
) -> dict[str, Any]:
    """How many it had, a day each, oldest first: counted once a day in the tenant's night. Both ends belong to it."""
    rows = await reads.scan(counts_of, caller.tenant, parsed("seg", segment), begin, end)
    return {"data": [_timed(row) for row in rows], "next": None}


def need_segment(view: View, tenant: int, segment: int, version: int | None = None) -> dict[str, Any]:
    """The saved segment, as it is or as it was at a version. Raises CommandRefused 404."""
    found = get_segment(view, tenant, public_id("seg", segment), version)
    if found is None:
        raise CommandRefused(404, "not_found", "no such segment")
    return found


def segment_json(row: dict[str, Any]) -> dict[str, Any]:
    return {"warnings": [], "description": "", **_timed(row)}


async def _snapshot(
    request: Request, body: SnapshotBody, text: str, of: int | None, ask: Asking, caller: Caller
) -> dict[str, Any]:
    at_ms = None if body.as_of is None else as_of_ms(request, body.as_of)
    command = SnapshotSegment(title=body.title, expr=text, of=of, as_of_ms=at_ms, description=body.description)
    return _tagged(ask.response, segment_json(await ask(caller, command)))


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    """Instants as the API writes them: created_ms becomes created_at."""
    shown = {name: value for name, value in row.items() if not name.endswith("_ms")}
    return shown | {f"{name[:-3]}_at".removeprefix("at_"): rfc3339(row[name]) for name in row if name.endswith("_ms")}


def _tagged(response: Response, answer: dict[str, Any]) -> dict[str, Any]:
    response.headers["ETag"] = f'"{answer["version"]}"'
    return answer


def _version(if_match: str) -> int:
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise CommandRefused(412, "version_changed", "If-Match is not an ETag of this segment")
    return int(text)
