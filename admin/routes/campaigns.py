"""Campaigns: draft, edit, preview, start with the preview's token.

Touches: rows of `campaigns`; commands campaign.create, .edit, .delete, .preview, .start. An answer about one campaign
carries its version as ETag; an edit may demand it.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from admin.answers import After, Answer, Body, Limit, Page, Reading, page
from admin.asking import LONG_TIMEOUT_S, Asking, AskingOnce
from admin.auth import Caller, may, parsed
from admin.options import OptionsBody
from admin.reads import cursor_of, key_of
from dispatcher.campaigns.campaign import campaign_json, list_campaigns, load
from dispatcher.campaigns.schedule import DAYS, SPREAD_MAX_S
from dispatcher.control.commands import (
    CreateCampaign,
    DeleteCampaign,
    EditCampaign,
    PreviewCampaign,
    StartCampaign,
)
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import View
from dispatcher.records.states import CampaignState, Purpose
from dispatcher.store.layout import U64

router = APIRouter(prefix="/v1", tags=["campaigns"])

NDJSON = "application/x-ndjson"
STREAM_ROWS = 2_000  # a snapshot and some 400 kB of text; the reader's pace holds the next one back
_RANK = struct.Struct(">I")

Title = Annotated[str, Field(min_length=1, max_length=200)]
Expr = Annotated[str, Field(min_length=1, max_length=1_000_000)]
Text = Annotated[str, Field(max_length=65_536, description="`{name}` `{points|0}` `{name|friend:12}` `{coupon}`")]
Sender = Annotated[str, Field(max_length=20)]
MaxParts = Annotated[int, Field(ge=1, le=255)]
Validity = Annotated[int, Field(ge=1, le=1 << 31)]
Stratify = Annotated[str, Field(max_length=100, description="a dictionary field: each of its values gets the shares")]
Signature = Annotated[str, Field(max_length=40, description="who the text says it is from; empty: the tenant's")]
Budget = Annotated[int, Field(ge=0, le=1 << 53, description="micro-units; a start above it is refused")]
Rate = Annotated[int, Field(ge=0, le=1_000_000, description="parts a second; 0: no limit of its own")]
CouponPool = Annotated[str, Field(max_length=100, description="id or name: `{coupon}` is each member's code there")]
Reason = Annotated[str, Field(max_length=500, description="kept in the campaign's history and in the audit")]
IfMatch = Annotated[str | None, Header(max_length=100, description="412 unless it is the campaign's ETag still")]
# null takes them away; of anything else it is as if not given
NULLABLE = ("schedule", "holdout", "winner", "options", "budget_micros", "coupon_pool")


class WindowBody(Body):
    from_: Annotated[str, Field(alias="from", max_length=5, description="09:00, in the schedule's zone")]
    to: Annotated[str, Field(max_length=5, description="20:00; one not after `from` lies on the next day")]
    days: list[Annotated[str, Field(max_length=2)]] = Field(list(DAYS), max_length=7)


class ScheduleBody(Body):
    at: Annotated[str | None, Field(max_length=40, description="as 2026-12-01T09:00 in `zone`, or with Z")] = None
    zone: Annotated[
        str, Field(max_length=64, description="`tenant`, `recipient` (each number's own), or an IANA time zone")
    ] = "tenant"
    window: WindowBody | None = None
    spread_over_s: Annotated[int, Field(ge=0, le=SPREAD_MAX_S)] = 0
    repeat: Annotated[str, Field(max_length=200, description="RRULE, such as FREQ=WEEKLY;BYDAY=MO; needs `at`")] = ""
    if_late: Annotated[Literal["run", "drop"], Field(description="what came due while the server was down")] = "run"
    count_change_percent: Annotated[
        int | None, Field(ge=0, le=100_000, description="held when the count differs by more; null: the tenant's")
    ] = None


class ArmBody(Body):
    name: Annotated[str, Field(min_length=1, max_length=40)]
    share: Annotated[float, Field(gt=0, le=100, description="percent; those of all arms add up to 100")]
    text: Annotated[Text, Field(description="empty: the campaign's")] = ""


class HoldoutBody(Body):
    percent: Annotated[float | None, Field(gt=0, lt=100, description="of the audience; or `size`")] = None
    size: Annotated[int | None, Field(ge=1, le=1 << 32)] = None
    salt: Annotated[str, Field(max_length=100, description="campaigns with the same one hold back the same people")] = (
        ""
    )


class WinnerBody(Body):
    by: Annotated[Literal["delivered", "replied", "redeemed"], Field(description="the greatest rate wins")]
    after_s: Annotated[int, Field(description="seconds from the start")]
    test_percent: Annotated[float, Field(gt=0, lt=100, description="of the audience; the rest gets the winner's text")]


class OwnCapBody(Body):
    max: Annotated[int, Field(ge=0, le=10_000, description="messages of the purpose to one number")]
    within_s: Annotated[int, Field(ge=1, le=92 * 86_400)]


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
    arms: Annotated[list[ArmBody], Field(max_length=16, default_factory=list)]
    holdout: HoldoutBody | None = None
    winner: WinnerBody | None = None
    stratify: Stratify = ""
    options: OptionsBody | None = None
    signature: Signature = ""
    budget_micros: Budget | None = None
    caps: Annotated[list[OwnCapBody], Field(max_length=12, default_factory=list)]
    rate: Rate = 0
    coupon_pool: CouponPool | None = None


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
    arms: Annotated[list[ArmBody] | None, Field(max_length=16)] = None
    holdout: HoldoutBody | None = None
    winner: WinnerBody | None = None
    stratify: Stratify | None = None
    options: OptionsBody | None = None
    signature: Signature | None = None
    budget_micros: Budget | None = None
    caps: Annotated[list[OwnCapBody] | None, Field(max_length=12)] = None
    rate: Rate | None = None
    coupon_pool: CouponPool | None = None


class StartBody(Body):
    token: Annotated[str, Field(min_length=1, max_length=200)]
    reason: Reason = ""


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


@router.post("/campaigns", status_code=201, response_model=CampaignAnswer)
async def create_campaign(
    body: CampaignBody, ask: Asking, caller: Annotated[Caller, may("campaigns:write")]
) -> dict[str, Any]:
    return tagged(ask.response, await ask(caller, CreateCampaign(**body.model_dump(mode="json", by_alias=True))))


@router.get("/campaigns", response_model=Page[CampaignAnswer])
async def list_campaigns_page(
    caller: Annotated[Caller, may("campaigns:read")],
    reads: Reading,
    limit: Limit,
    after: After = None,
    state: Annotated[CampaignState | None, Query(description="only those, as awaiting_approval")] = None,
) -> dict[str, Any]:
    """The newest first."""
    key = key_of(after, U64.size)
    before = None if key is None else U64.unpack(key)[0]
    rows = await reads.scan(list_campaigns, caller.tenant, before, limit + 1, state)
    cursor = cursor_of(U64.pack(rows[min(limit, len(rows)) - 1][0])) if rows else None
    return page([campaign_json(number, row) for number, row in rows], limit, cursor)


@router.get("/campaigns/{campaign}", response_model=CampaignAnswer)
async def get_campaign(
    campaign: str, response: Response, caller: Annotated[Caller, may("campaigns:read")], reads: Reading
) -> dict[str, Any]:
    number = parsed("cmp", campaign)
    return tagged(response, campaign_json(number, reads.now(need, caller.tenant, number)))


@router.patch("/campaigns/{campaign}", response_model=CampaignAnswer)
async def edit_campaign(
    campaign: str,
    body: CampaignPatch,
    ask: Asking,
    caller: Annotated[Caller, may("campaigns:write")],
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Change what has not started: it is a draft again, and an approval is gone. 412 when If-Match is given and is not
    the campaign's ETag any more."""
    given = body.model_dump(mode="json", by_alias=True, include=body.model_fields_set)
    changes: dict[str, Any] = {name: v for name, v in given.items() if v is not None or name in NULLABLE}
    command = EditCampaign(campaign=parsed("cmp", campaign), changes=changes)
    reply = await ask(caller, command, version=version_of(if_match))
    return tagged(ask.response, reply)


@router.delete("/campaigns/{campaign}", status_code=204)
async def delete_campaign(
    campaign: str, ask: Asking, caller: Annotated[Caller, may("campaigns:write")], if_match: IfMatch = None
) -> None:
    """Drafts only."""
    await ask(caller, DeleteCampaign(campaign=parsed("cmp", campaign)), version=version_of(if_match))


@router.post("/campaigns/{campaign}:preview", response_model=PreviewAnswer)
async def preview_campaign(
    campaign: str, ask: Asking, caller: Annotated[Caller, may("campaigns:write")]
) -> dict[str, Any]:
    """Freeze the audience; exact counts, parts, samples, and the token that :start asks for."""
    command = PreviewCampaign(campaign=parsed("cmp", campaign))
    return await ask(caller, command, timeout_s=LONG_TIMEOUT_S)


@router.post("/campaigns/{campaign}:start", response_model=CampaignAnswer)
async def start_campaign(
    campaign: str,
    body: StartBody,
    ask: AskingOnce,
    caller: Annotated[Caller, may("campaigns:send")],
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Send to the audience frozen under `token`; with a time in its schedule, keep it until then."""
    command = StartCampaign(campaign=parsed("cmp", campaign), token=body.token)
    return tagged(ask.response, await ask(caller, command, reason=body.reason, version=version_of(if_match)))


def need(view: View, tenant: int, campaign: int) -> dict[str, Any]:
    row = load(view, tenant, campaign)
    if row is None:
        raise CommandRefused(404, "not_found", "no such campaign")
    return row


def tagged(response: Response, answer: dict[str, Any]) -> dict[str, Any]:
    response.headers["ETag"] = f'"{answer["version"]}"'
    return answer


def version_of(if_match: str | None) -> int | None:
    """The version that If-Match demands; None for any. Raises CommandRefused 412."""
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise CommandRefused(412, "version_changed", "If-Match is not an ETag of this campaign")
    return int(text)
