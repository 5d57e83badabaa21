"""Campaigns: draft, preview, start with the preview's token, pause, resume, cancel; progress and recipients.

Touches: rows of `campaigns`, ledger arrays through campaigns/recipients, the dispatcher's live figures;
commands campaign.*. An answer about one campaign carries its version as ETag; an edit may demand it.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from admin.answers import After, Answer, Body, Limit, Page, Reading, page
from admin.asking import LONG_TIMEOUT_S, Asking, AskingOnce
from admin.auth import Caller, may, parsed
from admin.reads import Reads, cursor_of, key_of
from dispatcher.campaigns.campaign import campaign_json, list_campaigns, load
from dispatcher.campaigns.progress import progress
from dispatcher.campaigns.recipients import recipients
from dispatcher.campaigns.schedule import DAYS, SPREAD_MAX_S
from dispatcher.control.commands import (
    CancelCampaign,
    CreateCampaign,
    DeleteCampaign,
    EditCampaign,
    PauseCampaign,
    PreviewCampaign,
    ResumeCampaign,
    StartCampaign,
)
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision, Purpose, State
from dispatcher.store import Snapshot
from dispatcher.store.layout import U64

router = APIRouter(prefix="/v1", tags=["campaigns"])

NDJSON = "application/x-ndjson"
STREAM_ROWS = 2_000  # a snapshot and some 400 kB of text; the reader's pace holds the next one back
_RANK = struct.Struct(">I")

Title = Annotated[str, Field(min_length=1, max_length=200)]
Expr = Annotated[str, Field(min_length=1, max_length=1_000_000)]
Text = Annotated[str, Field(max_length=65_536, description="`{name}` `{points|0}` `{name|friend:12}`")]
Sender = Annotated[str, Field(max_length=20)]
MaxParts = Annotated[int, Field(ge=1, le=255)]
Validity = Annotated[int, Field(ge=1, le=1 << 31)]
_StateWord = Query(pattern=f"^({'|'.join(state.word for state in State)})$")
_DecisionWord = Query(pattern=f"^({'|'.join(decision.word for decision in Decision)})$")


class WindowBody(Body):
    from_: Annotated[str, Field(alias="from", max_length=5, description="09:00, in the schedule's zone")]
    to: Annotated[str, Field(max_length=5, description="20:00; one not after `from` lies on the next day")]
    days: list[Annotated[str, Field(max_length=2)]] = Field(list(DAYS), max_length=7)


class ScheduleBody(Body):
    at: Annotated[str | None, Field(max_length=40, description="as 2026-12-01T09:00 in `zone`, or with Z")] = None
    zone: Annotated[str, Field(max_length=64, description="`tenant`, or an IANA time zone")] = "tenant"
    window: WindowBody | None = None
    spread_over_s: Annotated[int, Field(ge=0, le=SPREAD_MAX_S)] = 0
    repeat: Annotated[str, Field(max_length=200, description="RRULE, such as FREQ=WEEKLY;BYDAY=MO; needs `at`")] = ""
    if_late: Annotated[Literal["run", "drop"], Field(description="what came due while the server was down")] = "run"
    count_change_percent: Annotated[
        int | None, Field(ge=0, le=100_000, description="held when the count differs by more; null: the tenant's")
    ] = None


class CampaignBody(Body):
    title: Title
    purpose: Purpose = Purpose.MARKETING
    expr: Expr = "everyone"
    text: Text = ""
    sender: Sender = ""
    max_parts: MaxParts = 3
    validity_s: Validity = 172_800
    receipts: bool = True
    schedule: ScheduleBody | None = None


class CampaignPatch(Body):
    title: Title | None = None
    purpose: Purpose | None = None
    expr: Expr | None = None
    text: Text | None = None
    sender: Sender | None = None
    max_parts: MaxParts | None = None
    validity_s: Validity | None = None
    receipts: bool | None = None
    schedule: ScheduleBody | None = None


class StartBody(Body):
    token: Annotated[str, Field(min_length=1, max_length=200)]


class CampaignAnswer(Answer):
    id: str
    title: str
    purpose: str
    state: str
    version: int


class PreviewAnswer(Answer):
    token: str
    audience: int
    will_send: int
    skipped: dict[str, int]
    parts: dict[str, int]


class RecipientAnswer(Answer):
    member: str
    decision: str
    state: str


@router.post("/campaigns", status_code=201, response_model=CampaignAnswer)
async def create_campaign(
    body: CampaignBody, ask: Asking, caller: Annotated[Caller, may("campaigns:write")]
) -> dict[str, Any]:
    return tagged(ask.response, await ask(caller, CreateCampaign(**body.model_dump(mode="json", by_alias=True))))


@router.get("/campaigns", response_model=Page[CampaignAnswer])
async def list_campaigns_page(
    caller: Annotated[Caller, may("campaigns:read")], reads: Reading, limit: Limit, after: After = None
) -> dict[str, Any]:
    """The newest first."""
    key = key_of(after, U64.size)
    before = None if key is None else U64.unpack(key)[0]
    rows = await reads.scan(list_campaigns, caller.tenant, before, limit + 1)
    cursor = cursor_of(U64.pack(rows[min(limit, len(rows)) - 1][0])) if rows else None
    return page([campaign_json(number, row) for number, row in rows], limit, cursor)


@router.get("/campaigns/{campaign}", response_model=CampaignAnswer)
async def get_campaign(
    campaign: str, response: Response, caller: Annotated[Caller, may("campaigns:read")], reads: Reading
) -> dict[str, Any]:
    number = parsed("cmp", campaign)
    return tagged(response, campaign_json(number, reads.now(_loaded, caller.tenant, number)))


@router.patch("/campaigns/{campaign}", response_model=CampaignAnswer)
async def edit_campaign(
    campaign: str,
    body: CampaignPatch,
    ask: Asking,
    caller: Annotated[Caller, may("campaigns:write")],
    if_match: Annotated[str | None, Header(max_length=100, description="the ETag that the edit was made from")] = None,
) -> dict[str, Any]:
    """Change what has not started: it is a draft again, and an approval is gone. 412 when If-Match is given and is not
    the campaign's ETag any more."""
    given = body.model_dump(mode="json", by_alias=True, include=body.model_fields_set)
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None or name == "schedule"}
    if if_match is not None and if_match.strip() != "*":
        changes["version"] = _version(if_match)
    reply = await ask(caller, EditCampaign(campaign=parsed("cmp", campaign), changes=changes))
    return tagged(ask.response, reply)


@router.delete("/campaigns/{campaign}", status_code=204)
async def delete_campaign(campaign: str, ask: Asking, caller: Annotated[Caller, may("campaigns:write")]) -> None:
    """Drafts only."""
    await ask(caller, DeleteCampaign(campaign=parsed("cmp", campaign)))


@router.post("/campaigns/{campaign}:preview", response_model=PreviewAnswer)
async def preview_campaign(
    campaign: str, ask: Asking, caller: Annotated[Caller, may("campaigns:write")]
) -> dict[str, Any]:
    """Freeze the audience; exact counts, parts, samples, and the token that :start asks for."""
    command = PreviewCampaign(campaign=parsed("cmp", campaign))
    return await ask(caller, command, timeout_s=LONG_TIMEOUT_S)


@router.post("/campaigns/{campaign}:start", response_model=CampaignAnswer)
async def start_campaign(
    campaign: str, body: StartBody, ask: AskingOnce, caller: Annotated[Caller, may("campaigns:send")]
) -> dict[str, Any]:
    """Send to the audience frozen under `token`; with a time in its schedule, keep it until then."""
    command = StartCampaign(campaign=parsed("cmp", campaign), token=body.token)
    return tagged(ask.response, await ask(caller, command))


@router.post("/campaigns/{campaign}:pause", response_model=CampaignAnswer)
async def pause_campaign(
    campaign: str, ask: Asking, caller: Annotated[Caller, may("campaigns:send")]
) -> dict[str, Any]:
    return tagged(ask.response, await ask(caller, PauseCampaign(campaign=parsed("cmp", campaign))))


@router.post("/campaigns/{campaign}:resume", response_model=CampaignAnswer)
async def resume_campaign(
    campaign: str, ask: Asking, caller: Annotated[Caller, may("campaigns:send")]
) -> dict[str, Any]:
    return tagged(ask.response, await ask(caller, ResumeCampaign(campaign=parsed("cmp", campaign))))


@router.post("/campaigns/{campaign}:cancel", response_model=CampaignAnswer)
async def cancel_campaign(
    campaign: str, ask: Asking, caller: Annotated[Caller, may("campaigns:send")]
) -> dict[str, Any]:
    """Final: what is unsent is never sent."""
    return tagged(ask.response, await ask(caller, CancelCampaign(campaign=parsed("cmp", campaign))))


@router.get("/campaigns/{campaign}/progress", response_model=Answer)
async def get_progress(
    request: Request, campaign: str, caller: Annotated[Caller, may("campaigns:read")], reads: Reading
) -> dict[str, Any]:
    """Counters that add up, and what the dispatcher is doing for it now (`live`; null while it is down)."""
    number = parsed("cmp", campaign)
    now_ms = request.app.state.clock.epoch_ms()
    status = await request.app.state.link.seen_status(now_ms)
    live = status.get("campaigns", {}).get(public_id("cmp", number), {}) if status else None
    answer = await reads.scan(progress, caller.tenant, number, live, now_ms)
    if answer is None:
        raise CommandRefused(404, "not_found", "no such campaign")
    return {**answer, "live": live}


@router.get("/campaigns/{campaign}/recipients", response_model=Page[RecipientAnswer], responses={
    200: {"content": {NDJSON: {"schema": {"type": "string"}}}}
})  # fmt: skip
async def list_recipients(
    campaign: str,
    caller: Annotated[Caller, may("campaigns:read")],
    reads: Reading,
    limit: Limit,
    after: After = None,
    state: Annotated[str | None, _StateWord] = None,
    decision: Annotated[str | None, _DecisionWord] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Any:
    """Who was matched and what became of each, by rank. Accept: application/x-ndjson streams them all."""
    number = parsed("cmp", campaign)
    reads.now(_loaded, caller.tenant, number)
    key = key_of(after, _RANK.size)
    rank = None if key is None else _RANK.unpack(key)[0]
    read = functools.partial(
        recipients,
        state=None if state is None else State[state.upper()],
        decision=None if decision is None else Decision[decision.upper()],
    )
    if NDJSON in accept:
        return StreamingResponse(_recipient_lines(reads, read, caller.tenant, number, rank), media_type=NDJSON)
    rows = await reads.scan(read, caller.tenant, number, after_rank=rank, limit=limit + 1)
    cursor = cursor_of(_RANK.pack(rows[min(limit, len(rows)) - 1]["rank"])) if rows else None
    return page(rows, limit, cursor)


async def _recipient_lines(
    reads: Reads, read: Callable[..., list[dict[str, Any]]], tenant: int, campaign: int, rank: int | None
) -> AsyncIterator[bytes]:
    """A snapshot for each slice: the list goes on while the campaign does, and each line is true when written."""

    def lines(view: Snapshot, after: int | None) -> tuple[bytes, int | None]:
        rows = read(view, tenant, campaign, after_rank=after, limit=STREAM_ROWS)
        text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        return text.encode(), rows[-1]["rank"] if rows else None

    while True:
        octets, rank = await reads.scan(lines, rank)
        if rank is None:
            return
        yield octets


def _loaded(view: View, tenant: int, campaign: int) -> dict[str, Any]:
    row = load(view, tenant, campaign)
    if row is None:
        raise CommandRefused(404, "not_found", "no such campaign")
    return row


def tagged(response: Response, answer: dict[str, Any]) -> dict[str, Any]:
    response.headers["ETag"] = f'"{answer["version"]}"'
    return answer


def _version(if_match: str) -> int:
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise CommandRefused(412, "version_changed", "If-Match is not an ETag of this campaign")
    return int(text)
